//! The sections that the file declares, by their names: what other sections may name.

use std::collections::BTreeSet;

use super::{
    suggest,
    value::{Value, in_ticks},
};
use crate::name::ServiceName;

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
