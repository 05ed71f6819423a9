//! `docs/http-status.md` says of every code what `bowline_model::Code` says.

use std::{fs, path::Path};

use bowline_model::Code;

/// The names of gRPC's statuses, in the order of their numbers.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[test]
fn the_table_is_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http-status.md");
    let text = fs::read_to_string(path).unwrap();
    let documented: Vec<String> = text.lines().filter(|line| line.starts_with("| `")).map(first_cells).collect();
    let expect: Vec<String> = Code::all()
        .map(|code| {
            let grpc = code.grpc_status();
            let name = GRPC[usize::from(grpc)];
            format!("`{code}` | {} | {grpc} {name} | {}", code.http_status(), code.title())
        })
        .collect();
    assert_eq!(documented, expect);
}

/// What a row says of the code itself: its name, HTTP, gRPC, title.
fn first_cells(row: &str) -> String {
    row.split('|').skip(1).take(4).map(str::trim).collect::<Vec<_>>().join(" | ")
}
