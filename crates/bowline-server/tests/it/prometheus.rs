//! The query API as Prometheus' clients know it: parameters, shapes, errors.

use serde_json::{Value, json};

use crate::support::Fixture;

#[tokio::test]
async fn what_is_asked_wrongly_is_told_as_prometheus_tells_it() {
    let fixture = Fixture::start().await;
    let regexes = "match[]=%7Ba%3D~%22x%22%7D&".repeat(101);
    let long = "label_replace(vector(1),%22a%22,%22".to_owned() + &"x".repeat(5000) + "%22,%22%22,%22%22)";
    for (target, status, kind) in [
        ("query", 400, "bad_data"),
        ("query?query=up%7B", 400, "bad_data"),
        ("query?query=up&time=yesterday", 400, "bad_data"),
        ("query?query=up&limit=-1", 400, "bad_data"),
        ("query?query=up&timeout=0", 400, "bad_data"),
        (&format!("query?query={long}"), 422, "execution"),
        ("query_range?query=up&start=0&end=10", 400, "bad_data"),
        ("query_range?query=up&start=0&end=10&step=0", 400, "bad_data"),
        ("query_range?query=up&start=10&end=0&step=1", 400, "bad_data"),
        ("query_range?query=up&start=0&end=11001&step=1", 400, "bad_data"),
        ("query_range?query=up%5B5m%5D&start=0&end=10&step=1", 400, "bad_data"),
        ("series", 400, "bad_data"),
        ("series?match[]=%7B%7D", 400, "bad_data"),
        ("series?match[]=1%2B1", 400, "bad_data"),
        ("series?match[]=up&start=10&end=0", 400, "bad_data"),
        (&format!("series?{regexes}"), 400, "bad_data"),
        ("label/a-b/values", 400, "bad_data"),
    ] {
        let answer = fixture.ask("GET", &format!("/api/v1/{target}"), "").await;
        let told = answer.json();
        assert_eq!((answer.status, &told["status"], &told["errorType"]), (status, &json!("error"), &json!(kind)));
        assert!(told["error"].as_str().is_some_and(|error| !error.is_empty()), "{target}: {told}");
    }
}

#[tokio::test]
async fn what_there_is_not_is_an_empty_list() {
    let fixture = Fixture::start().await;
    for (target, data) in [
        ("query?query=nothing", json!({ "resultType": "vector", "result": [] })),
        ("query_range?query=nothing&start=0&end=60&step=15s", json!({ "resultType": "matrix", "result": [] })),
        ("query?query=nothing%5B5m%5D", json!({ "resultType": "matrix", "result": [] })),
        ("series?match[]=nothing", json!([])),
        ("labels", json!([])),
        ("labels?match[]=nothing", json!([])),
        ("label/job/values", json!([])),
        ("query_exemplars?query=up&start=0&end=1", json!([])),
    ] {
        let answer = fixture.ask("GET", &format!("/api/v1/{target}"), "").await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "status": "success", "data": data })), "{target}");
    }
}

#[tokio::test]
async fn parameters_come_in_a_form_too_and_a_cut_answer_says_so() {
    let fixture = Fixture::start().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let sum = "query=1%2B1&time=2015-07-01T20:10:30.781Z";
    for (method, target, body) in [("GET", format!("?{sum}"), ""), ("POST", String::new(), sum)] {
        let answer = fixture.ask_with(method, &format!("/api/v1/query{target}"), &form, body).await;
        let data = json!({ "resultType": "scalar", "result": [1_435_781_430.781, "2"] });
        assert_eq!(answer.json(), json!({ "status": "success", "data": data }));
    }
    let two = "query=label_replace(vector(1),%22a%22,%22b%22,%22%22,%22%22)+or+vector(2)";
    for (rest, count, warnings) in [
        ("", 2, Value::Null),
        ("&limit=0", 2, Value::Null),
        ("&limit=2", 2, Value::Null),
        ("&limit=1", 1, json!(["results truncated due to limit"])),
    ] {
        let answer = fixture.ask("GET", &format!("/api/v1/query?{two}{rest}"), "").await.json();
        assert_eq!(answer["data"]["result"].as_array().map(Vec::len), Some(count), "{rest}: {answer}");
        assert_eq!(answer["warnings"], warnings, "{rest}");
    }
}
