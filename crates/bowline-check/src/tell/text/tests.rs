//! What people are shown, letter by letter.

use std::path::Path;

use super::*;
use crate::tell::stand_in::{FILE, Shop, cycle, site, two_owners};

#[track_caller]
fn check(report: &Report<'_>, expected: &str) {
    assert_eq!(text(report, false), format!("{expected}\n\n"));
}

#[test]
fn both_owners_are_shown() {
    let shop = Shop::new();
    let expected = "\
error[B0002]: data with two owners: `sqlite:order.db` belongs to `order` and to `user`
  --> bowline.toml:13:9
   |
 5 | data = [\"sqlite:order.db\"]
   |         ----------------- owned by order here
...
13 | data = [\"sqlite:order.db\"]
   |         ^^^^^^^^^^^^^^^^^ and by user here
   |
   = why: what two services write, neither of them can change alone
   = help: let one of them own it, and the other call it";
    check(&shop.report(&[two_owners()]), expected);
}

#[test]
fn a_warning_that_was_seen_names_its_trace() {
    let shop = Shop::new();
    let violation = Violation { severity: Severity::Warning, ..cycle() };
    let expected = "\
warning[B0008]: a synchronous cycle: order → user → order
  --> bowline.toml:7:22
   |
 7 | [service.order.calls.user]
   |                      ^^^^ order waits for user here
...
14 | [service.user.calls.order]
   |                     ----- user waits for order here
   |
   = why: each waits for the other
   = help: let one of them tell the other by message
   = seen: `bowline trace 0123456789abcdef0123456789abcdef` shows it";
    check(&shop.report(&[violation]), expected);
}

#[test]
fn places_in_several_files_are_shown_file_by_file() {
    let shop = Shop::new();
    let of_migration = Site { file: Some("sql/1.sql".to_owned()), ..site(1, 14, "filled here") };
    let unread = Site { file: Some("sql/2.sql".to_owned()), ..site(7, 3, "and here") };
    let violation = Violation { sites: vec![of_migration, site(5, 9, "owned here"), unread], ..two_owners() };
    let mut sources = Sources::new(Path::new("shop/bowline.toml"), FILE);
    sources.add("sql/1.sql", "INSERT INTO \torders(id) VALUES (1);\n");
    let expected = "\
error[B0002]: data with two owners: `sqlite:order.db` belongs to `order` and to `user`
 --> shop/sql/1.sql:1:14
  |
1 | INSERT INTO     orders(id) VALUES (1);
  |                 ^^^^^^ filled here
  |
 ::: shop/bowline.toml:5:9
  |
5 | data = [\"sqlite:order.db\"]
  |         ----------------- owned here
 ::: shop/sql/2.sql:7:3
  = note: and here
  = why: what two services write, neither of them can change alone
  = help: let one of them own it, and the other call it";
    check(&Report { sources: &sources, ..shop.report(&[violation]) }, expected);
}

#[test]
fn a_note_is_told_with_its_place() {
    let shop = Shop::new();
    let notes = [
        Note::new("Cargo cannot be asked"),
        Note {
            message: "the mode `async` is not built yet".to_owned(),
            help: "write `sync`".to_owned(),
            site: Some(site(7, 22, "")),
            is_unbuilt: true,
        },
    ];
    let expected = "\
note: Cargo cannot be asked

note: the mode `async` is not built yet
 --> bowline.toml:7:22
  |
7 | [service.order.calls.user]
  |                      ^^^^
  |
  = help: write `sync`";
    check(&Report { notes: &notes, ..shop.report(&[]) }, expected);
}

#[test]
fn text_of_strangers_does_nothing_to_a_terminal() {
    let shop = Shop::new();
    let evil = "\x1b]0;title\x07\u{9b}2J\u{202e}";
    let mut sources = Sources::new(Path::new("bowline.toml"), &format!("a = \"{evil}\" # \x1b[2J\r\n"));
    sources.add(format!("{evil}.sql"), evil);
    let elsewhere = Site { file: Some(format!("{evil}.sql")), ..site(1, 1, evil) };
    let violation = Violation {
        message: evil.to_owned(),
        sites: vec![site(1, 5, evil), elsewhere],
        why: evil.to_owned(),
        help: evil.to_owned(),
        trace_id: Some(evil.to_owned()),
        ..two_owners()
    };
    let told = text(&Report { sources: &sources, ..shop.report(&[violation]) }, false);
    assert!(!told.chars().any(|letter| letter != '\n' && (letter.is_control() || letter == '\u{202e}')), "{told:?}");
    assert!(told.contains("bowline.toml:1:5"), "{told}");
}

#[test]
fn what_the_text_does_not_have_is_told_by_its_place() {
    let shop = Shop::new();
    let violation = Violation { sites: vec![site(99, 3, "here")], ..two_owners() };
    let told = text(&shop.report(&[violation]), false);
    assert!(told.contains("--> bowline.toml:99:3\n"), "{told}");
    assert!(told.contains("= note: here\n"), "{told}");
}

#[test]
fn the_end_of_a_line_and_of_the_file_can_be_pointed_at() {
    let shop = Shop::new();
    let sources = Sources::new(Path::new("bowline.toml"), "a = 1\n");
    for (line, column) in [(1, 6), (1, 99), (2, 1)] {
        let violation = Violation { sites: vec![site(line, column, "here")], ..two_owners() };
        let told = text(&Report { sources: &sources, ..shop.report(&[violation]) }, false);
        assert!(told.contains("^ here"), "{line}:{column}: {told}");
    }
}

#[test]
fn much_is_counted_instead_of_shown() {
    let shop = Shop::new();
    let many = Violation { sites: vec![site(5, 9, "here"); SITES_MAX + 2], ..two_owners() };
    let told = text(&shop.report(&[many]), false);
    assert!(told.contains("= note: and 2 more places\n"), "{told}");
    let told = text(&shop.report(&vec![two_owners(); VIOLATIONS_MAX + 3]), false);
    assert_eq!(told.matches("error[B0002]").count(), VIOLATIONS_MAX);
    assert!(told.ends_with("and 3 more, which `--output json` has\n\n"), "{told}");
}

#[test]
fn colours_are_for_terminals() {
    let shop = Shop::new();
    let told = text(&shop.report(&[two_owners()]), true);
    assert!(told.contains("\x1b[") && !told.contains("\x1b]"), "{told:?}");
}
