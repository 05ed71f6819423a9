//! The sections that the file declares, who owns what, and who asks for what: all that sections say about each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    suggest,
    value::{Value, in_ticks},
};
use crate::{
    name::ServiceName,
    problem::Position,
    route::{PathPattern, Segment},
    system::{Operation, Service},
};

/// The names of all sections of one kind, the badly written ones too.
#[derive(Debug)]
pub(super) struct Names<'a> {
    /// What a section declares, which is also what its header begins with.
    kind: &'static str,
    /// Where the sections are, said behind their header in a help.
    place: &'static str,
    /// None: nobody knows which there are.
    declared: Option<BTreeSet<&'a str>>,
}

/// Which side of `key = value` names a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Key,
    Value,
}

impl<'a> Names<'a> {
    /// Those of the sections of this file.
    pub(super) fn declared(kind: &'static str, entries: &[Value<'a>]) -> Self {
        Self { kind, place: "", declared: Some(entries.iter().map(|entry| entry.key()).collect()) }
    }

    /// The services of a system that is declared elsewhere.
    pub(super) fn known(services: &'a [ServiceName]) -> Self {
        let declared = services.iter().map(ServiceName::as_str).collect();
        Self { kind: "service", place: " in bowline.toml", declared: Some(declared) }
    }

    /// Services of a system that is declared elsewhere, and not known here.
    pub(super) fn any() -> Self {
        Self { kind: "service", place: "", declared: None }
    }

    /// Notes a name that no section declares.
    pub(super) fn check(&self, name: &str, at: Value<'_>, side: Side) {
        let Self { kind, place, declared } = self;
        let Some(declared) = declared.as_ref().filter(|declared| !declared.contains(name)) else { return };
        let message = format!("unknown {kind} {}", in_ticks(name));
        let help = match suggest::nearest(name, declared.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("declare it with {}{place}", in_ticks(&format!("[{kind}.{name}]"))),
        };
        match side {
            Side::Key => at.fault_key(message, help),
            Side::Value => at.fault(message, help),
        }
    }
}

/// Who owns what so far: `Boundary(s₁) ∩ Boundary(s₂) = ∅`, as far as equal names prove it.
#[derive(Debug, Default)]
pub(super) struct Owners<'a> {
    claims: BTreeMap<String, (&'a str, Position)>,
}

impl<'a> Owners<'a> {
    /// Notes that `service` owns `thing`; a problem where what is the same by `identity` is owned already.
    pub(super) fn claim(&mut self, identity: String, thing: &str, service: &'a str, at: Value<'_>) {
        let Some((owner, position)) = self.claims.get(&identity) else {
            self.claims.insert(identity, (service, at.position()));
            return;
        };
        let line = position.line;
        if *owner == service {
            at.fault(format!("{} is listed twice", in_ticks(thing)), format!("remove it: line {line} has it"));
        } else {
            let owner = in_ticks(owner);
            let message = format!("{} is owned by {owner} (line {line}) and {}", in_ticks(thing), in_ticks(service));
            at.fault(message, format!("let one of them own it, and the other call {owner} for it"));
        }
    }
}

/// What calls are made for, to be held against what the services that are called offer.
#[derive(Debug, Default)]
pub(super) struct Asked<'a>(Vec<(&'a str, Operation, Value<'a>)>);

impl<'a> Asked<'a> {
    /// Notes that somebody calls `target` for this.
    pub(super) fn note(&mut self, target: &'a str, operation: Operation, at: Value<'a>) {
        self.0.push((target, operation, at));
    }

    /// Notes what is asked of a service that says what it offers, and is not among that.
    pub(super) fn check(&self, services: &[Service]) {
        for (target, asked, at) in &self.0 {
            let Some(service) = services.iter().find(|service| service.name.as_str() == *target) else { continue };
            let offered = &service.boundary.api;
            if offered.is_empty() || offered.iter().any(|offered| covers(offered, asked)) {
                continue;
            }
            let asked = format!("{} {}", asked.method, String::from(asked.path.clone()));
            let message = format!("{} is not in the `api` of {}", in_ticks(&asked), in_ticks(target));
            let written = offered.iter().map(|it| format!("{} {}", it.method, String::from(it.path.clone())));
            let written: Vec<String> = written.collect();
            let help = suggest::nearest(&asked, written.iter().map(String::as_str)).map_or_else(
                || format!("add it to {}, or remove it here", in_ticks(&format!("[service.{target}.boundary]"))),
                |meant| format!("did you mean \"{meant}\"?"),
            );
            at.fault(message, help);
        }
    }
}

/// Whether all requests that look like `asked` look like `offered`.
fn covers(offered: &Operation, asked: &Operation) -> bool {
    offered.method == asked.method && covers_path(&offered.path, &asked.path)
}

fn covers_path(offered: &PathPattern, asked: &PathPattern) -> bool {
    let (outer, inner) = (offered.segments(), asked.segments());
    let is_long_enough =
        if offered.is_prefix() { inner.len() >= outer.len() } else { inner.len() == outer.len() && !asked.is_prefix() };
    let covers_segment = |(outer, inner): (&Segment, &Segment)| match (outer, inner) {
        (Segment::Parameter(_), _) => true,
        (Segment::Literal(outer), Segment::Literal(inner)) => outer == inner,
        (Segment::Literal(_), Segment::Parameter(_)) => false,
    };
    is_long_enough && outer.iter().zip(inner).all(covers_segment)
}
