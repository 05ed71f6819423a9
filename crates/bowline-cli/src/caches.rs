//! `bowline caches`: how services keep what they read of others, why so, and how often that helps.

use std::{collections::BTreeSet, process::ExitCode};

use bowline_provider_remote::wire::{CacheList, CachesQuery, InstanceCache};

use crate::{
    FAILED, api,
    args::{self, Output},
    services, style, table,
};

/// Lists caches, or shows one in each instance that has it.
pub(crate) async fn run(args: args::Caches) -> anyhow::Result<ExitCode> {
    let args::Caches { service, cache, query } = args;
    let client = api::client(&query).await?;
    let asked = CachesQuery { service: service.clone() };
    let mut found = api::answered(&query, client.caches(&asked).await)?;
    if let (Some(service), true) = (&service, found.caches.is_empty() && found.missing.is_empty()) {
        let known = services::known(&query, &client).await?;
        if !known.contains(service) {
            return Err(services::none_of(service, &known));
        }
    }
    if let Some(cache) = &cache {
        let known: BTreeSet<&str> = found.caches.iter().map(|one| one.status.cache.as_str()).collect();
        let is_known = known.contains(cache.as_str()) || !found.missing.is_empty();
        let known: Vec<&str> = known.into_iter().collect();
        anyhow::ensure!(is_known, none_of(cache, &known));
        found.caches.retain(|one| one.status.cache == *cache);
    }
    if query.output == Output::Json {
        api::print_json(&found)?;
    } else {
        let told = found.caches.iter().filter(|_| cache.is_some()).flat_map(detail);
        let missing = found.missing.iter().map(|instance| format!("{instance} did not say what it has"));
        for line in lines(&found).into_iter().chain(told).chain(missing) {
            style::line(&line);
        }
    }
    Ok(if found.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn none_of(cache: &str, known: &[&str]) -> String {
    if known.is_empty() {
        format!("there is no cache {cache}, nor any other")
    } else {
        format!("there is no cache {cache}, but: {}", known.join(", "))
    }
}

fn lines(found: &CacheList) -> Vec<String> {
    if found.caches.is_empty() {
        return vec!["no caches".to_owned()];
    }
    let rows: Vec<Vec<String>> = found.caches.iter().flat_map(rows).collect();
    let head = ["SERVICE", "INSTANCE", "CACHE", "CLASS", "STRATEGY", "ENTRIES", "BYTES", "L1", "L2", "L3", "FEED"];
    table::lines(&head, &rows)
}

/// A row for each class of keys.
fn rows(one: &InstanceCache) -> impl Iterator<Item = Vec<String>> {
    let InstanceCache { service, instance, status } = one;
    status.classes.iter().map(move |class| {
        let mut row = vec![
            service.to_string(),
            instance.to_string(),
            status.cache.clone(),
            class.class.clone(),
            class.strategy.clone(),
            status.entries.to_string(),
            level(one, "l1").and_then(|level| level.bytes).map_or_else(dash, |bytes| bytes.to_string()),
        ];
        row.extend(["l1", "l2", "l3"].map(|level| hits(one, level)));
        row.push(feeds(one));
        row
    })
}

/// How often a level had what it was asked for.
fn hits(one: &InstanceCache, name: &str) -> String {
    let Some(level) = level(one, name) else { return dash() };
    let ratio = level.hit_ratio().map_or_else(dash, |ratio| format!("{:.0}%", ratio * 100.0));
    if level.is_left_alone { format!("{ratio}, left alone") } else { ratio }
}

fn level<'a>(one: &'a InstanceCache, name: &str) -> Option<&'a bowline_cache::LevelStatus> {
    one.status.levels.iter().find(|level| level.level == name)
}

/// How its feeds are followed: what is not as it should be, if anything is not.
fn feeds(one: &InstanceCache) -> String {
    let feeds = &one.status.feeds;
    let amiss = feeds.iter().find(|feed| feed.standing != "following").or(feeds.first());
    amiss.map_or_else(dash, |feed| format!("{} {}", feed.feed, feed.standing))
}

/// All that is known of one.
fn detail(InstanceCache { instance, status, .. }: &InstanceCache) -> Vec<String> {
    let mut lines = vec![String::new(), format!("{instance}:")];
    for class in &status.classes {
        let chosen = if class.is_adaptive { "chosen by what is observed" } else { "as it is told" };
        lines.push(format!("  {}: {}, {chosen}: {}", class.class, class.strategy, class.why));
    }
    let of = &status.requests;
    lines.push(format!(
        "  requests: {} fresh, {} stale, {} loaded, {} waited, {} refused, {} not cached",
        of.fresh, of.stale, of.loaded, of.waited, of.refused, of.bypassed
    ));
    let of = &status.loads;
    lines.push(format!(
        "  loads: {} values, {} nothing, {} failed, {} overtaken",
        of.value, of.nothing, of.failed, of.discarded
    ));
    for level in &status.levels {
        let failures = if level.failures == 0 { String::new() } else { format!(", {} failures", level.failures) };
        let failures = format!("{failures}{}", reason(level.why.as_deref()));
        lines.push(format!("  {}: {} hits, {} misses{failures}", level.level, level.hits, level.misses));
    }
    lines
        .push(format!("  invalidated: {} by feeds, {} by itself", status.invalidated_by_feed, status.invalidated_here));
    for feed in &status.feeds {
        let at = feed.position.map_or_else(String::new, |position| format!(" at {position}"));
        let why = reason(feed.why.as_deref());
        lines.push(format!("  feed {}: {}{at}, {} gaps{why}", feed.feed, feed.standing, feed.gaps));
    }
    lines.iter().map(|line| style::plain(line)).collect()
}

/// What is told behind something that failed.
fn reason(why: Option<&str>) -> String {
    why.map_or_else(String::new, |why| format!(": {why}"))
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> CacheList {
        let json = r#"{"caches": [{"service": "order", "instance": "order-1", "status": {
            "cache": "user-profile",
            "classes": [{"class": "all", "strategy": "lru", "why": "a key is read 0.8/s", "is_adaptive": true}],
            "entries": 12, "levels": [
                {"level": "l1", "hits": 96, "misses": 4, "bytes": 4096, "bytes_max": 16777216, "failures": 0, "is_left_alone": false},
                {"level": "l3", "hits": 0, "misses": 0, "bytes": null, "bytes_max": null, "failures": 10, "is_left_alone": true,
                 "why": "it cannot be used now: no route"}],
            "requests": {"fresh": 96, "stale": 0, "loaded": 4, "waited": 0, "refused": 0, "bypassed": 0},
            "loads": {"value": 3, "nothing": 1, "failed": 0, "discarded": 0},
            "invalidated_by_feed": 2, "invalidated_here": 0,
            "feeds": [{"feed": "user.changed", "standing": "following", "position": 7, "gaps": 0},
                {"feed": "b", "standing": "unsure", "position": null, "gaps": 0, "why": "it took too long"}]}}]}"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn caches_are_told_with_the_reason_and_the_ratio_of_each_level() {
        let expect = [
            "SERVICE  INSTANCE  CACHE         CLASS  STRATEGY  ENTRIES  BYTES  L1   L2  L3             FEED",
            "order    order-1   user-profile  all    lru       12       4096   96%  -   -, left alone  b unsure",
        ];
        assert_eq!(lines(&list()), expect);
        let expect = [
            "",
            "order-1:",
            "  all: lru, chosen by what is observed: a key is read 0.8/s",
            "  requests: 96 fresh, 0 stale, 4 loaded, 0 waited, 0 refused, 0 not cached",
            "  loads: 3 values, 1 nothing, 0 failed, 0 overtaken",
            "  l1: 96 hits, 4 misses",
            "  l3: 0 hits, 0 misses, 10 failures: it cannot be used now: no route",
            "  invalidated: 2 by feeds, 0 by itself",
            "  feed user.changed: following at 7, 0 gaps",
            "  feed b: unsure, 0 gaps: it took too long",
        ];
        assert_eq!(detail(&list().caches[0]), expect);
        assert_eq!(lines(&CacheList { caches: Vec::new(), missing: Vec::new() }), ["no caches"]);
    }
}
