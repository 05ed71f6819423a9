//! Rule files as people write them, and what is wrong with them.

use super::*;

fn check_expr(expr: &str) -> Result<(), String> {
    if expr.contains("sum(") && !expr.contains(')') { Err("1:5: `)` is missing".to_owned()) } else { Ok(()) }
}

const FILE: &str = r#"
groups:
  - name: shop
    interval: 30s
    limit: 10
    labels: { team: shop }
    rules:
      - record: job:requests:rate1m
        expr: sum by (job) (rate(requests_total[1m]))
        labels: { level: 1 }
      - alert: PaymentDown
        expr: |
          absent(up{job="payment"} == 1)
        for: 1m
        keep_firing_for: 30s
        labels:
          severity: page
        annotations:
          summary: "{{ $labels.job }} is at {{ $value | humanizePercentage }}"
  - name: empty
"#;

#[test]
fn a_file_of_prometheus_is_read() {
    let groups = parse("shop.yml", FILE, &check_expr).unwrap();
    assert_eq!(groups.len(), 2);
    let shop = &groups[0];
    assert_eq!((shop.interval, shop.limit), (Some(Duration::from_secs(30)), Some(10)));
    let Rule::Record(record) = &shop.rules[0] else { panic!("{:?}", shop.rules[0]) };
    assert_eq!((record.labels["level"].as_str(), record.labels["team"].as_str()), ("1", "shop"));
    let Rule::Alert(alert) = &shop.rules[1] else { panic!("{:?}", shop.rules[1]) };
    assert_eq!((alert.hold, alert.keep_firing), (Duration::from_mins(1), Duration::from_secs(30)));
    assert_eq!(alert.labels.keys().collect::<Vec<_>>(), ["severity", "team"]);
    assert_eq!(alert.expr.trim(), r#"absent(up{job="payment"} == 1)"#);
    assert_eq!(parse("empty.yml", "", &check_expr), Ok(vec![]));
    assert_eq!(parse("empty.yml", "groups: []", &check_expr), Ok(vec![]));
}

#[track_caller]
fn problems(text: &str) -> Vec<String> {
    let problems = parse("a.yml", text, &check_expr).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn everything_wrong_is_told_with_its_place() {
    let text = r#"groups:
  - name: a
    interval: 10
    rules:
      - alert: A
        expr: sum(
        for: 5 minutes
        labels: { "a-b": x }
        annotations: { summary: "{{ if $value }}" }
      - record: bad-name
        expr: up
        for: 1m
      - expr: up
      - { alert: A, record: b, expr: up }
  - name: a
"#;
    assert_eq!(
        problems(text),
        [
            "3:15: error: `interval` is no duration",
            "6:15: error: the expression cannot be read: 1:5: `)` is missing",
            "7:14: error: `for` is no duration",
            "8:26: error: `a-b` cannot be the name of a label",
            "9:33: error: the annotation `summary` cannot be filled in",
            "10:17: error: `bad-name` cannot be a metric's name",
            "12:14: error: a rule that records does not alert",
            "13:15: error: the rule has no name",
            "14:29: error: a rule alerts or records, not both",
            "15:11: error: there is another group of that name",
        ]
    );
}

#[test]
fn another_structure_is_refused_with_its_place() {
    for (text, place, word) in [
        ("groups:\n  - name: a\n    partial_response_strategy: warn\n", "3:5:", "partial_response_strategy"),
        ("groups:\n  - name: a\n    rules:\n      - alert: A\n        expression: up\n", "5:9:", "expression"),
        ("groups:\n  - rules: []\n", "2:", "name"),
        ("groups: 5\n", "1:9:", "sequence"),
        ("groups: [\n", "1:9:", ""),
        ("group: []\n", "1:1:", "group"),
    ] {
        let problems = problems(text);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with(place) && problems[0].contains(word), "{text}: {problems:?}");
    }
}

#[test]
fn files_are_bounded() {
    let rules = "      - { record: a, expr: b }\n".repeat(RULES_MAX + 1);
    let text = format!("groups:\n  - name: a\n    rules:\n{rules}");
    assert!(problems(&text)[0].contains("1001 rules"));
    assert!(problems(&"#".repeat(FILE_BYTES_MAX + 1))[0].contains("bytes"));
    let long = format!("groups: [{{ name: a, rules: [{{ record: a, expr: '{}' }}] }}]", "x".repeat(EXPR_BYTES_MAX + 1));
    assert!(problems(&long)[0].contains("too long"));
    // A document that would grow when it is read is refused.
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\ngroups: *b\n";
    assert!(!problems(bomb).is_empty());
}
