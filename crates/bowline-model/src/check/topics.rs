//! B0006 and B0007: topics that nobody owns, or that another than their owner writes.

use super::{OTHERS_MAX, Site, Violation, ownership::Claims, rules};
use crate::{
    name::ServiceName,
    parse::in_ticks,
    system::{CallMode, Resource, Service, System},
};

const WHY_OWNER: &str = "a topic is state, and what nobody owns nobody keeps: who may write what into it is undecided";

const WHY_WRITER: &str = "isolation demands that state is written by its owner alone; who reads a topic takes its \
                          messages for the owner's";

/// The topics that messages pass through, against who owns them.
pub(super) fn check(system: &System, claims: &Claims<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for service in &system.services {
        let calls = service.calls.iter().filter(|call| call.mode == CallMode::Message);
        let topics = calls.flat_map(|call| &call.topics);
        violations.extend(topics.filter_map(|topic| violation(service, topic, claims)));
    }
    violations
}

fn violation(writer: &Service, topic: &Resource, claims: &Claims<'_>) -> Option<Violation> {
    let owners: Vec<_> = claims.holders(topic).collect();
    let (name, shown) = (&writer.name, in_ticks(&topic.to_string()));
    if owners.iter().any(|claim| claim.owner == name.as_str()) {
        return None;
    }
    let Some(first) = owners.first() else {
        let message = format!("`{name}` sends messages through {shown}, which nobody owns");
        let sites = vec![Site::of_system(topic.position, "no service has it in its `state`")];
        let help = format!("add \"{topic}\" to the `state` of `[service.{name}.boundary]`");
        return Some(Violation::of(&rules::TOPIC_OWNER, message, sites, WHY_OWNER, help));
    };
    let message = format!("`{name}` writes {shown}, which `{}` owns", first.owner);
    let mut sites = vec![Site::of_system(topic.position, format!("written by `{name}`"))];
    let owned = owners.iter().take(OTHERS_MAX);
    sites.extend(owned.map(|it| Site::of_system(it.resource.position, format!("owned by `{}`", it.owner))));
    Some(Violation::of(&rules::TOPIC_WRITER, message, sites, WHY_WRITER, help_writer(name, first.owner)))
}

fn help_writer(writer: &ServiceName, owner: &str) -> String {
    format!("send through a topic of `{writer}` that `{owner}` reads, or call `{owner}`")
}
