//! Files in the shape of the Numenta Anomaly Benchmark, good and bad, and their labels.

use iot_detect::{
    evaluation::Fault,
    labels,
    series::{self, Series},
};
use proptest::prelude::*;

fn read(lines: &[&str]) -> Result<Series, Vec<String>> {
    series::read(&lines.join("\n")).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

#[test]
fn real_files_are_borne() {
    let series = read(&[
        "\u{feff}value, timestamp,more\r",
        "42,2014-04-10 00:04:00,x\r",
        "-8.5e-2,2014-04-10 00:09:31.250000,\r",
        "",
        ",2014-04-10 00:14:00,x",
        "7,2014-04-10 00:09:31.25,twice",
        "7,2014-04-09 23:14:00,an hour back",
        "7,2014-04-10T01:00:00,",
    ])
    .unwrap();
    let readings: Vec<_> =
        series.readings.iter().map(|reading| (reading.at_ms - 1_397_088_240_000, reading.value)).collect();
    assert_eq!(readings, [(0, 42.0), (331_250, -0.085), (331_250, 7.0), (-3_000_000, 7.0), (3_360_000, 7.0)]);
    assert_eq!((series.late_count, series.empty_count), (2, 1));
    assert_eq!(read(&["timestamp,value"]).unwrap(), Series::default());
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let header = "timestamp,value";
    let long = format!("2014-04-10 00:04:00,{}", "1".repeat(5000));
    for (lines, expect) in [
        (&[""][..], "1: error: no column `timestamp`, begin the file with the line `timestamp,value`"),
        (
            &["timestamp,temperature", "x"],
            "1: error: no column `value`, begin the file with the line `timestamp,value`",
        ),
        (&[header, "2014-04-10 00:04:00"], "2: error: there is no value: column 2 is missing"),
        (
            &[header, "", "2014-04-31 00:04:00,1"],
            "3: error: the timestamp `2014-04-31 00:04:00` is no `YYYY-MM-DD HH:MM:SS`",
        ),
        (&[header, "1397088240,1"], "2: error: the timestamp `1397088240` is no `YYYY-MM-DD HH:MM:SS`"),
        (
            &[header, "2014-04-10 00:04:00,1", "2014-04-10 00:09:00,NaN"],
            "3: error: the value `NaN` is no decimal number",
        ),
        (&[header, "2014-04-10 00:04:00,1;5\u{1b}[2J"], "2: error: the value `1;5[2J` is no decimal number"),
        (&[header, &long], "2: error: the line is longer than 4096 bytes"),
    ] {
        assert_eq!(read(lines).unwrap_err(), [expect]);
    }
    let many: Vec<_> = std::iter::once(header).chain(std::iter::repeat_n("x,1", 100)).collect();
    assert_eq!(read(&many).unwrap_err().len(), 20);
}

#[test]
fn labels_are_found_by_the_end_of_the_path() {
    let text = r#"{"a/x.csv": [["2014-04-10 07:15:00.000000", "2014-04-11 16:45:00.000000"]], "a/y.csv": ["2014-04-11 00:00:00"], "z/w.csv": [], "v/w.csv": []}"#;
    let day = 1_397_088_000_000;
    let window = Fault { kind: None, from_ms: day + 26_100_000, to_ms: day + 86_400_000 + 60_300_000 };
    for name in ["x.csv", "a/x.csv", "data/a/x.csv"] {
        assert_eq!(labels::read(text, name).unwrap(), [window]);
    }
    let moment = Fault { kind: None, from_ms: day + 86_400_000, to_ms: day + 86_400_000 };
    assert_eq!(labels::read(text, "y.csv").unwrap(), [moment]);
    let error = |text: &str, name: &str| labels::read(text, name).unwrap_err().to_string();
    assert_eq!(error(text, "ax.csv"), "no labels for `ax.csv`, there are some for a/x.csv, a/y.csv, v/w.csv, z/w.csv");
    assert_eq!(error(text, "w.csv"), "several labels for `w.csv`: z/w.csv");
    assert_eq!(error("[]", "w.csv"), r#"the labels are not of the form {"file.csv": [["FROM", "TO"]]}"#);
    let reversed = r#"{"x": ["2014-04-11 00:00:00", ["2014-04-11 00:00:00", "2014-04-10 00:00:00"]]}"#;
    assert_eq!(
        error(reversed, "x"),
        "label 2 of `x`: it ends at 2014-04-10 00:00:00 before it begins at 2014-04-11 00:00:00"
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*", lines in prop::collection::vec("[-0-9:, .eE]{0,40}", 0..20)) {
        let read = |text: &str| drop((series::read(text), labels::read(text, "x")));
        read(&text);
        read(&format!("timestamp,value\n{}", lines.join("\n")));
    }
}
