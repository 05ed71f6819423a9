//! The log as SARIF's schema demands it.

use serde_json::Value;

use super::*;
use crate::tell::{
    Seen,
    stand_in::{Shop, cycle, observed, site, two_owners},
};

fn log(report: &Report<'_>) -> Value {
    serde_json::from_str(&sarif(report)).unwrap()
}

#[test]
fn a_violation_is_a_result_with_its_places() {
    let shop = Shop::new();
    let log = log(&shop.report(&[cycle(), two_owners()]));
    let run = &log["runs"][0];
    let rules: Vec<&str> =
        run["tool"]["driver"]["rules"].as_array().unwrap().iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(rules, ["B0002", "B0008"]);
    let result = &run["results"][1];
    assert_eq!(result["ruleId"], "B0002");
    assert_eq!(result["ruleIndex"], 0);
    assert_eq!(result["level"], "error");
    let region = json!({"startLine": 13, "startColumn": 9, "endColumn": 26});
    assert_eq!(result["locations"][0]["physicalLocation"]["region"], region);
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "bowline.toml");
    assert_eq!(result["relatedLocations"][0]["message"]["text"], "owned by order here");
    let text = result["message"]["text"].as_str().unwrap();
    assert!(text.contains("\n- [owned by order here](1)\n"), "{text}");
    assert!(run["results"][0]["message"]["text"].as_str().unwrap().contains("bowline trace 0123"));
}

#[test]
fn every_log_has_what_the_schema_demands() {
    let shop = Shop::new();
    let nowhere = Violation { sites: Vec::new(), ..two_owners() };
    let notes = [Note::new("no Cargo"), Note { site: Some(site(1, 1, "")), ..Note::new("not built") }];
    let of_all = [two_owners(), cycle(), nowhere];
    for report in [shop.report(&[]), Report { notes: &notes, ..shop.report(&of_all) }] {
        demand(&log(&report), &["version", "runs"]);
        let run = &log(&report)["runs"][0];
        demand(run, &["tool"]);
        demand(&run["tool"]["driver"], &["name"]);
        each(&run["tool"]["driver"]["rules"], |rule| demand(rule, &["id"]));
        each(&run["invocations"], |invocation| demand(invocation, &["executionSuccessful"]));
        each(&run["invocations"][0]["toolExecutionNotifications"], |said| demand(&said["message"], &["text"]));
        each(&run["results"], |result| {
            demand(&result["message"], &["text"]);
            // A code host demands one place, be it the whole file.
            assert_eq!(result["locations"].as_array().unwrap().len(), 1);
            each(&result["locations"], whole_location);
            each(&result["relatedLocations"], whole_location);
        });
    }
}

#[test]
fn how_much_was_observed_is_told() {
    let shop = Shop::new();
    let observed = observed();
    let seen = Some(Seen { observed: &observed, extent: "1 span" });
    let log = log(&Report { seen, ..shop.report(&[]) });
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!(invocation["toolExecutionNotifications"][0]["message"]["text"], "observed: 1 span");
    assert_eq!(invocation["properties"]["observed"]["gaps"], json!(["deleted"]));
}

fn whole_location(location: &Value) {
    demand(&location["physicalLocation"], &["artifactLocation", "region"]);
    let region = &location["physicalLocation"]["region"];
    assert!(region["startLine"].as_u64() >= Some(1) && region["startColumn"].as_u64() >= Some(1), "{region}");
    assert!(region["endColumn"].as_u64() > region["startColumn"].as_u64(), "{region}");
}

fn demand(object: &Value, keys: &[&str]) {
    for key in keys {
        assert!(!object[key].is_null(), "{key} of {object}");
    }
}

fn each(list: &Value, check: impl Fn(&Value)) {
    list.as_array().unwrap().iter().for_each(check);
}

#[test]
fn messages_hold_no_links_of_strangers_and_paths_are_uris() {
    assert_eq!(escaped(r"[x](http://y) \"), r"\[x\](http://y) \\");
    assert_eq!(uri("examples/shop/bowline.toml"), "examples/shop/bowline.toml");
    assert_eq!(uri("/srv/a b/é#.toml"), "file:///srv/a%20b/%C3%A9%23.toml");
}
