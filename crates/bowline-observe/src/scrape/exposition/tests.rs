//! What is read, what is refused, and that nothing panics.

use std::{collections::BTreeMap, time::Duration};

use bowline_runtime::metric::Registry;
use proptest::prelude::*;

use super::*;
use crate::labels::{Labels, NAME};

type Sample = (String, f64, Option<i64>);

fn labels_of(series: &str) -> Result<Labels, &'static str> {
    let mut pairs = Vec::new();
    let name = parse_labels(series, |name, value| pairs.push((name.to_owned(), value.into_owned())))?;
    Ok(Labels::new(pairs.into_iter().chain([(NAME.to_owned(), name.to_owned())])))
}

fn read(format: Format, body: &[u8]) -> Result<Vec<Sample>, ParseError> {
    let mut exposition = Exposition::new(format, body)?;
    let mut samples = Vec::new();
    while let Some(entry) = exposition.next_entry()? {
        if let Entry::Sample { series, reading } = entry {
            let labels = labels_of(series).map_err(|rule| exposition.error(rule))?;
            samples.push((labels.to_string(), reading.value, reading.at_ms));
        }
    }
    Ok(samples)
}

fn check(format: Format, body: &str, expect: &[(&str, f64, Option<i64>)]) {
    let found = read(format, body.as_bytes()).unwrap();
    let found: Vec<_> = found.iter().map(|(series, value, at_ms)| (series.as_str(), *value, *at_ms)).collect();
    assert_eq!(found, expect, "{body}");
}

fn check_refused(format: Format, body: &str, expect: &str) {
    let error = read(format, body.as_bytes()).expect_err(body);
    assert_eq!(format!("{}: {}", error.line, error.rule), expect, "{body}");
}

#[test]
fn the_text_format_is_read() {
    let body = "# HELP a_total What \\\\ it \\n is.\n# TYPE a_total counter\na_total 1\na_total{} 2 \n\
        a_total{ code = \"5\\\"0\\\\0\\n\\x\" , } -3.5e2 1234\n\n # any comment\n#none\n\
        \t b:c\t{le=\"+Inf\",q=\"}{\"}\t+Inf \t -5\nc .5";
    let expect = [
        ("a_total", 1.0, None),
        ("a_total", 2.0, None),
        ("a_total{code=\"5\\\"0\\\\0\\n\\\\x\"}", -350.0, Some(1234)),
        ("b:c{le=\"+Inf\", q=\"}{\"}", f64::INFINITY, Some(-5)),
        ("c", 0.5, None),
    ];
    check(Format::Text, body, &expect);
    let values = read(Format::Text, b"a NaN\na -Inf\na 007\na 9007199254740993\na 1_0\n");
    assert_eq!(values.unwrap_err().line, 5);
    let values = read(Format::Text, b"a NaN\na -Inf\na 007\na 123456789012345678\n").unwrap();
    assert!(values[0].1.is_nan() && !crate::source::is_stale(values[0].1));
    let values: Vec<_> = values[1..].iter().map(|(_, value, _)| value.to_string()).collect();
    assert_eq!(values, ["-inf", "7", "123456789012345680"]);
    check(Format::Text, "", &[]);
}

#[test]
fn open_metrics_is_read() {
    let body = "# TYPE a counter\n# UNIT a_seconds seconds\n# HELP a Some.\na_total{x=\"1\"} 17 1.5203\n\
        a_total 0 # {trace_id=\"a b\"} 0.67\na_total 1 2 # {} 1 1520879607.789\na_created 1.5e9\n# EOF\n";
    let expect = [
        ("a_total{x=\"1\"}", 17.0, Some(1520)),
        ("a_total", 0.0, None),
        ("a_total", 1.0, Some(2000)),
        ("a_created", 1.5e9, None),
    ];
    check(Format::OpenMetrics, body, &expect);
    check(Format::OpenMetrics, "# EOF", &[]);
}

#[test]
fn what_is_malformed_is_refused_with_its_line() {
    let text = |body: &str, expect: &str| check_refused(Format::Text, body, expect);
    text("a 1\nb\n", "2: the value is missing");
    text("a one\n", "1: the value is not a number");
    text("a 1\r\n", "1: the value is not a number");
    text("a 1e999\n", "1: the value is too large");
    text("a +NaN\n", "1: the value is not a number");
    text("a 1 2.5\n", "1: the time is not in milliseconds");
    text("a 1 2 3\n", "1: nothing follows the time");
    text("{a=\"b\"} 1\n", "1: the name is missing");
    text("{\"a\"} 1\n", "1: the name is missing");
    text("a-b 1\n", "1: a metric's name has letters, digits, `_` and `:`, 512 at most");
    text("a{b=\"c\" 1\n", "1: the labels do not end with `}`");
    text("a{b=\"c} 1\nd 2\n", "1: a label's value does not end");
    text("a{b='c'} 1\n", "1: a label's value stands in quotes");
    text("a{\"b\"=\"c\"} 1\n", "1: names in quotes are not read");
    text("a{b:d=\"c\"} 1\n", "1: a label's name has letters, digits and `_`, 512 at most");
    text("a{b=\"c\"d=\"e\"} 1\n", "1: labels are parted by commas");
    text("a{,} 1\n", "1: a label is NAME=\"VALUE\"");
    text("a{b=\"1\",b=\"2\"} 1\n", "1: a label comes twice");
    text("a{__name__=\"2\"} 1\n", "1: a label comes twice");
    text("# TYPE a thing\n", "1: the type is none of the format's");
    text("# HELP 9a b\n", "1: a metric's name has letters, digits, `_` and `:`, 512 at most");
    text(&format!("a{{b=\"{}\"}} 1\n", "x".repeat(5000)), "1: a label's value has 4096 bytes at most");
    text(&format!("\n# {}\n", "x".repeat(70_000)), "2: it has more than 64 KiB");
    let many = (0..65).map(|i| format!("l{i}=\"x\"")).collect::<Vec<_>>().join(",");
    text(&format!("a{{{many}}} 1\n"), "1: it has more than 64 labels");
    let open = |body: &str, expect: &str| check_refused(Format::OpenMetrics, body, expect);
    open("a 1\n", "2: `# EOF` is missing at the end");
    open("a 1\n# EOF\n\n", "3: nothing follows `# EOF`");
    open("\n# EOF\n", "1: an empty line is not allowed");
    open("# any\n# EOF\n", "1: a comment is `# HELP`, `# TYPE`, `# UNIT` or `# EOF`");
    open("a  1\n# EOF\n", "1: the value is missing");
    open("a{b=\"c\"}1\n# EOF\n", "1: a value follows after a space");
    open("a 1 # {x=\"y\" 1\n# EOF\n", "1: the labels do not end with `}`");
    open("a 1 # 1\n# EOF\n", "1: an exemplar is ` # {LABELS} VALUE`");
    open("# UNIT a_seconds bytes\n# EOF\n", "1: a metric's name ends with its unit");
    let error = read(Format::Text, b"a 1\nb{c=\"\xff\"} 1\n").unwrap_err();
    assert_eq!((error.line, error.rule), (2, "it is not UTF-8"));
}

#[test]
fn media_types_say_the_format() {
    assert_eq!(Format::of(None), Some(Format::Text));
    assert_eq!(Format::of(Some("text/plain; version=0.0.4; charset=utf-8")), Some(Format::Text));
    assert_eq!(Format::of(Some("application/OpenMetrics-text; version=1.0.0")), Some(Format::OpenMetrics));
    assert_eq!(Format::of(Some("text/html")), None);
}

#[test]
fn a_known_series_is_read_without_looking_for_its_end() {
    let mut exposition = Exposition::new(Format::Text, b"a{b=\"c\"} 1 5\na{b=\"c\"}2\na {x=\"y\"} 3\na\t4\n").unwrap();
    let reading = exposition.next_of("a{b=\"c\"}").unwrap().unwrap();
    assert_eq!((reading.value, reading.at_ms), (1.0, Some(5)));
    assert_eq!(exposition.next_of("a{b=\"d\"}"), Ok(None));
    // Such a line is read slowly.
    assert_eq!(exposition.next_of("a{b=\"c\"}"), Ok(None));
    assert!(exposition.next_entry().unwrap().is_some());
    // The name is the same, the series is not.
    assert_eq!(exposition.next_of("a"), Ok(None));
    assert!(matches!(exposition.next_entry(), Ok(Some(Entry::Sample { series: "a {x=\"y\"}", .. }))));
    assert_eq!(exposition.next_of("a").unwrap().unwrap().value.to_string(), "4");
    assert_eq!(exposition.next_entry(), Ok(None));
}

/// Pieces of expositions, to make what is nearly one.
const PIECES: [&str; 24] = [
    "a", "_b:", "{", "}", "l=\"v\"", ",", "\"", "\\", "=", " ", "\t", "\n", "1", "-2.5e3", "+Inf", "NaN", "# HELP ",
    "# TYPE ", "# EOF\n", "# {", "counter", "é", "\r", "#",
];

proptest! {
    #[test]
    fn nothing_panics(pieces in prop::collection::vec(0..PIECES.len(), 0..40), noise in any::<Vec<u8>>()) {
        let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        for format in [Format::Text, Format::OpenMetrics] {
            for body in [text.as_bytes(), &noise] {
                let whole = read(format, body);
                // Whoever expects a series reads the same.
                let Ok(mut exposition) = Exposition::new(format, body) else { continue };
                let mut samples = Vec::new();
                let again = loop {
                    let known = ["a", "a{l=\"v\"}"].map(|known| (known, exposition.clone().next_of(known)));
                    if let Some((known, Ok(Some(reading)))) = known.into_iter().find(|(_, found)| found != &Ok(None)) {
                        exposition.next_of(known).unwrap();
                        samples.push((labels_of(known).unwrap().to_string(), reading.value.to_bits(), reading.at_ms));
                        continue;
                    }
                    match exposition.next_entry() {
                        Err(error) => break Err(error),
                        Ok(None) => break Ok(samples),
                        Ok(Some(Entry::Sample { series, reading })) => match labels_of(series) {
                            Ok(labels) => samples.push((labels.to_string(), reading.value.to_bits(), reading.at_ms)),
                            Err(rule) => break Err(exposition.error(rule)),
                        },
                        Ok(Some(_)) => {}
                    }
                };
                let whole = whole.map(|samples| {
                    samples.into_iter().map(|(series, value, at)| (series, value.to_bits(), at)).collect::<Vec<_>>()
                });
                prop_assert_eq!(whole, again);
            }
        }
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "the numbers are small enough")]
    fn what_the_registry_renders_is_read_back(
        counts in prop::collection::btree_map("[ -~é\n]{0,12}", 0_u64..1 << 53, 0..8),
        levels in prop::collection::btree_map("[a-z\"\\\\\n]{0,6}", any::<i32>(), 0..8),
        millis in prop::collection::vec(0_u64..20_000, 0..20),
    ) {
        let registry = Registry::default();
        let mut expect = BTreeMap::new();
        for (value, count) in &counts {
            registry.counter("a_total", "Counts.", &[("v", value)]).add(*count);
            expect.insert(Labels::new([(NAME, "a_total"), ("v", value)]).to_string(), *count as f64);
        }
        for (value, level) in &levels {
            registry.gauge("b", "Level.", &[("v", value), ("w", "x")]).set(i64::from(*level));
            expect.insert(Labels::new([(NAME, "b"), ("v", value), ("w", "x")]).to_string(), f64::from(*level));
        }
        let times = registry.histogram("c_seconds", "Times.", &[]);
        for millis in &millis {
            times.record(Duration::from_millis(*millis));
        }
        let samples = read(Format::Text, registry.render().as_bytes()).unwrap();
        let found: BTreeMap<_, _> = samples.iter().map(|(series, value, _)| (series.clone(), *value)).collect();
        for (series, value) in &expect {
            prop_assert_eq!(found.get(series), Some(value), "{}", series);
        }
        prop_assert_eq!(found["c_seconds_count"].to_string(), millis.len().to_string());
        prop_assert_eq!(found["c_seconds_bucket{le=\"+Inf\"}"].to_string(), millis.len().to_string());
        let sum = millis.iter().sum::<u64>() as f64 / 1000.0;
        prop_assert!((found["c_seconds_sum"] - sum).abs() < 1e-6);
        prop_assert_eq!(found.len(), expect.len() + 19);
    }
}
