//! Data that was touched, and topics that were written, by who does not own them: B0103, B0104.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, cut, few, site, times};
use crate::{
    check::{Rule, Severity, Site, Violation},
    observed::{Observed, ObservedUse, TOPIC, rules},
    system::{Resource, Service, System},
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

    fn tables(&self) -> String {
        let tables = few(self.tables.iter().map(|table| (*table).to_owned()));
        if tables.is_empty() { tables } else { format!(" ({tables})") }
    }
}

/// The database or the topic that a use is of.
type Name<'a> = (&'a str, &'a str);

impl Kind {
    fn check(&self, system: &System, uses: Vec<&ObservedUse>) -> Vec<Finding> {
        let mut foreign: BTreeMap<(&str, String), (Touched<'_>, &Service, &Resource)> = BTreeMap::new();
        let mut unowned: BTreeMap<Name<'_>, BTreeMap<&str, Touched<'_>>> = BTreeMap::new();
        for using in uses {
            let owners = self.owners(system, using);
            if owners.iter().any(|(owner, _)| owner.name.as_str() == using.service) {
                continue;
            }
            let touched = if let Some((owner, resource)) = owners.first() {
                let key = (using.service.as_str(), resource.to_string());
                &mut foreign.entry(key).or_insert_with(|| (Touched::default(), owner, resource)).0
            } else {
                let name = (canonical(&using.kind), using.name.as_str());
                unowned.entry(name).or_default().entry(&using.service).or_default()
            };
            touched.add(using);
        }
        let foreign = foreign
            .into_iter()
            .map(|((service, _), (touched, owner, resource))| self.foreign(system, service, &touched, owner, resource));
        let unowned = unowned.into_iter().filter_map(|(name, services)| self.unowned(system, name, &services));
        foreign.chain(unowned).collect()
    }

    /// Who owns what was used: the table, else the database that has it, else any part of it where no table is known.
    fn owners<'a>(&self, system: &'a System, using: &ObservedUse) -> Vec<(&'a Service, &'a Resource)> {
        let all =
            system.services.iter().flat_map(|service| (self.owned)(service).iter().map(move |own| (service, own)));
        all.filter(|(_, resource)| holds(resource, using)).collect()
    }

    fn foreign(
        &self,
        system: &System,
        service: &str,
        touched: &Touched<'_>,
        owner: &Service,
        resource: &Resource,
    ) -> Finding {
        let (who, tables, times) = (cut(service), touched.tables(), times(touched.count));
        let intruder = system.service(service);
        let header = intruder.map(|known| site(known.position, format!("{who} {} it {times}", self.verb)));
        let owned = site(resource.position, format!("owned by {} here", owner.name));
        Finding {
            rule: self.rule,
            severity: Severity::Error,
            message: format!("{who} {} {resource}{tables} {times}, which {} owns", self.verb, owner.name),
            sites: header.into_iter().chain([owned]).collect(),
            why: self.why,
            help: format!("let {who} ask {} for it by a declared call, or give {resource} to {who} alone", owner.name),
            sample: Some(touched.sample.to_owned()),
        }
    }

    /// What nobody owns: a fault where two share it, else something to declare.
    fn unowned(&self, system: &System, name: Name<'_>, services: &BTreeMap<&str, Touched<'_>>) -> Option<Finding> {
        let resource = format!("{}:{}", name.0, cut(name.1));
        let sites: Vec<Site> = services
            .iter()
            .filter_map(|(service, touched)| {
                let known = system.service(service)?;
                Some(site(known.position, format!("{service} {} it {}", self.verb, times(touched.count))))
            })
            .collect();
        // Somebody outside of the system, and what is not the system's.
        if sites.is_empty() {
            return None;
        }
        let (first, touched) = services.iter().find(|(service, _)| system.service(service).is_some())?;
        let others = few(services.keys().map(|service| (*service).to_owned()));
        let (severity, who) = if services.len() > 1 {
            (Severity::Error, format!("{others} share {resource}: each {} it", self.verb))
        } else {
            (
                Severity::Warning,
                format!("{first} {} {resource}{} {}", self.verb, touched.tables(), times(touched.count)),
            )
        };
        Some(Finding {
            rule: self.rule,
            severity,
            message: format!("{who}, and nobody owns it"),
            sites,
            why: self.why,
            help: format!("add \"{resource}\" to `{}` of the boundary of the one service that owns it", self.key),
            sample: Some(touched.sample.to_owned()),
        })
    }
}

/// Whether a resource is, or holds, what was used.
fn holds(resource: &Resource, using: &ObservedUse) -> bool {
    if canonical(&resource.kind) != canonical(&using.kind) {
        return false;
    }
    let Some(part) = resource.name.strip_prefix(using.name.as_str()) else { return false };
    match (part.strip_prefix('/'), &using.table) {
        // The whole database.
        (None, _) => part.is_empty(),
        (Some(table), Some(used)) => table.eq_ignore_ascii_case(used),
        // Which part is not known: it may be this one.
        (Some(_), None) => true,
    }
}

/// One name for what OpenTelemetry and `bowline.toml` call differently.
fn canonical(kind: &str) -> &str {
    match kind {
        "postgresql" => "postgres",
        "microsoft.sql_server" => "mssql",
        other => other,
    }
}
