//! What holds of all scripts: each text in both languages, and nothing that makes markup of data.

use std::{collections::BTreeSet, fs, path::PathBuf};

/// A file has at most so many lines.
const LINES_MAX: usize = 500;

/// What would make markup or code of a text.
const FORBIDDEN: [&str; 8] = [
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "dangerouslySetInnerHTML",
    "document.write",
    "eval(",
    "new Function",
    " style=\"",
];

/// Name and text of each script of ours.
fn scripts() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let scripts = files.filter(|path| path.extension().is_some_and(|extension| extension == "js"));
    scripts
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// The text in single quotes with which `rest` begins, and what follows it.
fn quoted(rest: &str) -> Option<(String, &str)> {
    let mut chars = rest.trim_start().strip_prefix('\'')?.chars();
    let mut text = String::new();
    loop {
        match chars.next()? {
            '\\' => text.push(chars.next()?),
            '\'' => return Some((text, chars.as_str())),
            char => text.push(char),
        }
    }
}

/// The texts of the calls of `t` and `tn`.
fn texts(script: &str) -> BTreeSet<String> {
    let calls = |name: &str| {
        let places = script.match_indices(name);
        let is_whole =
            |at: usize| !script[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_' || char == '.');
        places.filter(|(at, _)| is_whole(*at)).map(|(at, _)| &script[at + name.len()..]).collect::<Vec<_>>()
    };
    let mut texts: BTreeSet<String> = calls("t(").into_iter().filter_map(|rest| Some(quoted(rest)?.0)).collect();
    for rest in calls("tn(") {
        let Some((one, rest)) = quoted(rest) else { continue };
        texts.insert(one);
        texts.extend(rest.strip_prefix(',').and_then(quoted).map(|(several, _)| several));
    }
    texts
}

/// The keys of `zh.js`, quoted where they are no names.
fn translated(script: &str) -> BTreeSet<String> {
    let lines = script.lines().map(str::trim_start);
    lines
        .filter_map(|line| match quoted(line) {
            Some((key, rest)) => rest.starts_with(':').then_some(key),
            None => line.split_once(':').map(|(key, _)| key.to_owned()),
        })
        .collect()
}

#[test]
fn every_text_is_there_in_chinese() {
    let scripts = scripts();
    let chinese = translated(&scripts.iter().find(|(name, _)| name == "zh.js").unwrap().1);
    let mut missing = Vec::new();
    for (name, script) in scripts.iter().filter(|(name, _)| name != "zh.js") {
        missing.extend(
            texts(script).into_iter().filter(|text| !chinese.contains(text)).map(|text| format!("{name}: {text}")),
        );
    }
    assert!(chinese.len() > 100, "{chinese:?}");
    assert!(missing.is_empty(), "zh.js lacks:\n{}", missing.join("\n"));
}

#[test]
fn nothing_makes_markup_or_code_of_data() {
    for (name, script) in scripts() {
        for (number, line) in script.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for forbidden in FORBIDDEN {
                assert!(!line.contains(forbidden), "{name}:{}: {forbidden}", number + 1);
            }
        }
    }
}

#[test]
fn a_script_says_what_it_is_for_and_ends_in_time() {
    for (name, script) in scripts() {
        assert!(script.starts_with("// "), "{name} does not begin with what it is for");
        let is_list = name == "zh.js";
        assert!(is_list || script.lines().count() <= LINES_MAX, "{name} has more than {LINES_MAX} lines");
    }
}
