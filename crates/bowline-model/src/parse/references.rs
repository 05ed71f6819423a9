//! The sections that the file declares, and who owns what: all that sections say about each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    suggest,
    value::{Value, in_ticks},
};
use crate::{name::ServiceName, problem::Position};

/// The names of all sections of one kind, the badly written ones too.
#[derive(Debug)]
pub(super) struct Names<'a> {
    /// What a section declares, which is also what its header begins with.
    kind: &'static str,
    /// Where the sections are, said behind their header in a help.
    place: &'static str,
    declared: BTreeSet<&'a str>,
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
        Self { kind, place: "", declared: entries.iter().map(|entry| entry.key()).collect() }
    }

    /// The services of a system that is declared elsewhere.
    pub(super) fn known(services: &'a [ServiceName]) -> Self {
        let declared = services.iter().map(ServiceName::as_str).collect();
        Self { kind: "service", place: " in bowline.toml", declared }
    }

    /// Notes a name that no section declares.
    pub(super) fn check(&self, name: &str, at: Value<'_>, side: Side) {
        if self.declared.contains(name) {
            return;
        }
        let Self { kind, place, declared } = self;
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
