//! Data that was touched, and topics that were written, by who does not own them: B0103, B0104.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, cut, few, shown, site, times};
use crate::{
    check::{Rule, Severity, Site, Violation, tables},
    data,
    observed::{Observed, ObservedUse, rules},
    system::{Resource, Service, System, TOPIC},
};

pub(super) fn check(system: &System, observed: &Observed) -> Vec<Violation> {
    let (topics, data): (Vec<_>, Vec<_>) = observed.uses.iter().partition(|using| using.kind == TOPIC);
    let written = topics.into_iter().filter(|using| using.is_written).collect();
    let of_data = Kind {
        rule: &rules::FOREIGN_DATA,
        verb: "touched",
        key: "data",
        why: "two services that touch the same data are one service: neither can change it, or fail, alone",
        owned: |service| &service.boundary.data,
    };
    let of_topics = Kind {
        rule: &rules::FOREIGN_TOPIC,
        verb: "wrote",
        key: "state",
        why: "who reads a topic trusts its owner for what is in it: a second writer changes that for all of them, \
            unseen",
        owned: |service| &service.boundary.state,
    };
    let findings = [of_data.check(system, data), of_topics.check(system, written)];
    findings.into_iter().flatten().map(Violation::from).collect()
}

/// A kind of data whose databases are files.
const SQLITE: &str = "sqlite";

/// Data or topics.
struct Kind {
    rule: &'static Rule,
    verb: &'static str,
    /// The key of `[service.X.boundary]` that says who owns it.
    key: &'static str,
    why: &'static str,
    owned: fn(&Service) -> &Vec<Resource>,
}

/// What one service did with one resource.
#[derive(Default)]
struct Touched<'a> {
    count: u64,
    tables: BTreeSet<&'a str>,
    sample: &'a str,
}

impl<'a> Touched<'a> {
    fn add(&mut self, using: &'a ObservedUse) {
        self.count += using.count;
        self.tables.extend(using.table.as_deref());
        self.sample = &using.sample;
    }

    fn join(&mut self, other: Self) {
        self.count += other.count;
        self.tables.extend(other.tables);
        self.sample = other.sample;
    }

    fn tables(&self) -> String {
        let tables = few(self.tables.iter().map(|table| (*table).to_owned()));
        if tables.is_empty() { tables } else { format!(" ({tables})") }
    }
}

/// The files of SQLite databases that services were seen to touch by a path: who, and which.
type Files<'a> = BTreeSet<(&'a str, &'a str)>;

/// The database or the topic that a use is of.
type Name<'a> = (&'a str, &'a str);

/// What services did with one thing, by their names.
type ByService<'a> = BTreeMap<&'a str, Touched<'a>>;

impl Kind {
    fn check(&self, system: &System, uses: Vec<&ObservedUse>) -> Vec<Finding> {
        let mut foreign: BTreeMap<(&str, String), (Touched<'_>, &Service, &Resource)> = BTreeMap::new();
        let mut unowned: BTreeMap<Name<'_>, Vec<&ObservedUse>> = BTreeMap::new();
        let by_path = uses.iter().filter(|using| file_name(using).is_some());
        let files: Files<'_> = by_path.map(|using| (&*using.service, &*using.name)).collect();
        for using in uses {
            let owners = self.owners(system, using, &files);
            if owners.iter().any(|(owner, _)| owner.name.as_str() == using.service) {
                continue;
            }
            if let Some((owner, resource)) = owners.first() {
                let key = (using.service.as_str(), resource.to_string());
                foreign.entry(key).or_insert_with(|| (Touched::default(), owner, resource)).0.add(using);
            } else {
                unowned.entry((canonical(&using.kind), using.name.as_str())).or_default().push(using);
            }
        }
        let foreign = foreign
            .into_iter()
            .map(|((service, _), (touched, owner, resource))| self.foreign(system, service, &touched, owner, resource));
        let unowned = unowned.into_iter().flat_map(|(name, uses)| {
            let shares = shares(&uses).into_iter();
            shares.filter_map(move |(table, services)| self.unowned(system, name, table, &services)).collect::<Vec<_>>()
        });
        foreign.chain(unowned).collect()
    }

    /// Who owns what was used: the table, else the database that has it, else any part of it where no table is known.
    fn owners<'a>(
        &self,
        system: &'a System,
        using: &ObservedUse,
        files: &Files<'_>,
    ) -> Vec<(&'a Service, &'a Resource)> {
        let all =
            system.services.iter().flat_map(|service| (self.owned)(service).iter().map(move |own| (service, own)));
        all.filter(|(owner, resource)| {
            // Two files may have one name: another's is the owner's only where the owner was seen to touch that file.
            let is_file_of = |file: &str| match file_name(using) {
                Some(name) => name == file && files.contains(&(owner.name.as_str(), &*using.name)),
                None => using.name == file,
            };
            holds(resource, using, is_file_of)
        })
        .collect()
    }

    fn foreign(
        &self,
        system: &System,
        service: &str,
        touched: &Touched<'_>,
        owner: &Service,
        resource: &Resource,
    ) -> Finding {
        let (who, tables, times) = (shown(service), touched.tables(), times(touched.count));
        let intruder = system.service(service);
        let header = intruder.map(|known| site(known.position, format!("{who} {} it {times}", self.verb)));
        let owned = site(resource.position, format!("owned by `{}` here", owner.name));
        Finding {
            rule: self.rule,
            severity: Severity::Error,
            message: format!("{who} {} `{resource}`{tables} {times}, which `{}` owns", self.verb, owner.name),
            sites: header.into_iter().chain([owned]).collect(),
            why: self.why,
            help: format!(
                "let {who} ask `{}` for it by a declared call, or give `{resource}` to {who} alone",
                owner.name
            ),
            sample: Some(touched.sample.to_owned()),
        }
    }

    /// What nobody owns: a fault where two share it, else something to declare.
    fn unowned(
        &self,
        system: &System,
        name: Name<'_>,
        table: Option<&str>,
        services: &ByService<'_>,
    ) -> Option<Finding> {
        let part = table.map_or(String::new(), |table| format!("/{}", cut(&table.replace('.', "/"))));
        let resource = format!("{}:{}{part}", name.0, cut(name.1));
        let named = match name.1.rsplit_once('/').filter(|_| name.0 == SQLITE) {
            Some((_, file)) => format!("\"{SQLITE}:{}{part}\", a name that no other file has,", cut(file)),
            None => format!("\"{resource}\""),
        };
        let sites: Vec<Site> = services
            .iter()
            .filter_map(|(service, touched)| {
                let known = system.service(service)?;
                Some(site(known.position, format!("`{service}` {} it {}", self.verb, times(touched.count))))
            })
            .collect();
        // Somebody outside of the system, and what is not the system's.
        if sites.is_empty() {
            return None;
        }
        let (first, touched) = services.iter().find(|(service, _)| system.service(service).is_some())?;
        let others = few(services.keys().map(|service| (*service).to_owned()));
        let (severity, who) = if services.len() > 1 {
            (Severity::Error, format!("{others} share `{resource}`: each {} it", self.verb))
        } else {
            (
                Severity::Warning,
                format!("`{first}` {} `{resource}`{} {}", self.verb, touched.tables(), times(touched.count)),
            )
        };
        Some(Finding {
            rule: self.rule,
            severity,
            message: format!("{who}, and nobody owns it"),
            sites,
            why: self.why,
            help: format!("add {named} to `{}` of the boundary of the one service that owns it", self.key),
            sample: Some(touched.sample.to_owned()),
        })
    }
}

/// The uses of one database that nobody owns, by what is shared of it: each table that several services touched,
/// and for each service the rest. Where a table is not known it may be any, so that all of it is one.
fn shares<'a>(uses: &[&'a ObservedUse]) -> Vec<(Option<&'a str>, ByService<'a>)> {
    let mut tables: BTreeMap<Option<&str>, ByService<'_>> = BTreeMap::new();
    let is_known = uses.iter().all(|using| using.table.is_some());
    for using in uses {
        let table = using.table.as_deref().filter(|_| is_known);
        tables.entry(table).or_default().entry(&using.service).or_default().add(using);
    }
    let (mut shares, alone): (Vec<_>, Vec<_>) = tables.into_iter().partition(|(_, services)| services.len() > 1);
    let mut rest: BTreeMap<&str, ByService<'_>> = BTreeMap::new();
    for (service, touched) in alone.into_iter().flat_map(|(_, services)| services) {
        rest.entry(service).or_default().entry(service).or_default().join(touched);
    }
    shares.extend(rest.into_values().map(|services| (None, services)));
    shares
}

/// Whether a resource is, or holds, what was used; `is_database` says whether that is in the database of a name.
fn holds(resource: &Resource, using: &ObservedUse, is_database: impl Fn(&str) -> bool) -> bool {
    if canonical(&resource.kind) != canonical(&using.kind) {
        return false;
    }
    if using.kind == TOPIC {
        let used = Resource { kind: using.kind.clone(), name: using.name.clone(), position: resource.position };
        return resource.holds(&used);
    }
    is_database(data::database(&resource.name))
        && using.table.as_ref().is_none_or(|table| {
            let (schema, table) =
                table.rsplit_once('.').map_or((None, &**table), |(schema, table)| (Some(schema), table));
            tables::fit(resource, schema, table).is_some()
        })
}

/// The file's name of a SQLite database that is told by its path.
fn file_name(using: &ObservedUse) -> Option<&str> {
    let (_, file) = using.name.rsplit_once('/')?;
    (using.kind == SQLITE).then_some(file)
}

/// One name for what OpenTelemetry and `bowline.toml` call differently.
fn canonical(kind: &str) -> &str {
    match kind {
        "postgresql" => "postgres",
        "microsoft.sql_server" => "mssql",
        other => other,
    }
}
