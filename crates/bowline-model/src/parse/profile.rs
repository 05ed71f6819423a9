//! Profiles: `[profile.NAME]`, what of the file is otherwise where one is chosen.
//!
//! It is laid over the file before that is read: tables key by key, everything else in the place of what was there.
//! What is read knows of none of it, and every position is that of the one text.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    PROFILES_MAX,
    file::File,
    schema, suggest, system,
    table::Table,
    value::{Value, in_ticks},
};
use crate::system::System;

/// What is the same in every profile: whose system it is, and its route table, which is published as the text that it
/// is.
const FIXED: [&str; 5] = ["name", "gateway", "auth", "route", "profile"];

/// Reads the file without a profile and with each, so that what is wrong does not depend on who reads it; hands out
/// the system of the chosen one.
pub(super) fn read<'a>(root: &'a DeTable<'a>, chosen: Option<&str>, file: &'a File<'a>) -> Option<System> {
    let table = Table::root(root, &schema::SYSTEM, file);
    let section = table.get("profile");
    let profiles = section.map(|value| value.entries(&schema::PROFILE_ENTRY, PROFILES_MAX)).unwrap_or_default();
    if let Some(chosen) = chosen {
        check_chosen(chosen, section, &profiles, file);
    }
    let without = system(&table);
    let mut read = if chosen.is_none() { without } else { None };
    for profile in profiles {
        profile.key_label();
        let Some(over) = profile.nodes() else { continue };
        let merged = laid_over(root, over, file);
        file.read_with(Some(profile.key()));
        let with = system(&Table::root(&merged, &schema::SYSTEM, file));
        file.read_with(None);
        if chosen == Some(profile.key()) {
            read = with;
        }
    }
    read
}

fn check_chosen(chosen: &str, section: Option<Value<'_>>, profiles: &[Value<'_>], file: &File<'_>) {
    let names = || profiles.iter().map(|profile| profile.key());
    if names().any(|name| name == chosen) {
        return;
    }
    let message = format!("there is no profile {}", in_ticks(chosen));
    let Some(section) = section.filter(|_| !profiles.is_empty()) else {
        let header = in_ticks(&format!("[profile.{chosen}]"));
        return file.fault(0..0, message, format!("the file has none: write {header}, or leave `--profile` out"));
    };
    let known = format!("the file has: {}", names().map(in_ticks).collect::<Vec<_>>().join(", "));
    let help = suggest::nearest(chosen, names())
        .map_or_else(|| known.clone(), |name| format!("did you mean {}? {known}", in_ticks(name)));
    section.fault_key(message, help);
}

/// The file's tree with what a profile says; what it must not say is noted, and left out.
fn laid_over<'a>(root: &DeTable<'a>, over: &DeTable<'a>, file: &File<'_>) -> DeTable<'a> {
    let mut merged = root.clone();
    for (key, node) in over {
        if FIXED.contains(&&**key.get_ref()) {
            let help = "move it out of the profile: a system's name, its routes and its profiles are always the same";
            file.fault(key.span(), format!("{} in a profile", in_ticks(key.get_ref())), help);
        } else {
            put(&mut merged, key, node);
        }
    }
    merged
}

fn put<'a>(table: &mut DeTable<'a>, key: &Spanned<Cow<'a, str>>, node: &Spanned<DeValue<'a>>) {
    let beneath = table.get_mut(key).map(Spanned::get_mut);
    if let (Some(DeValue::Table(beneath)), DeValue::Table(over)) = (beneath, node.get_ref()) {
        for (key, node) in over {
            put(beneath, key, node);
        }
        return;
    }
    // The key goes, too: one that stays is where it was, and its value elsewhere.
    table.remove(key);
    table.insert(key.clone(), node.clone());
}
