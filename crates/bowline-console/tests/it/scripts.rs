//! What holds of all scripts: each text in both languages, nothing that makes markup of data, nor finds in tables what
//! they do not hold, and what needs care in one place.

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

/// Whether a script holds Chinese texts by their keys.
fn is_chinese(name: &str) -> bool {
    name.starts_with("zh-")
}

/// The keys of Chinese texts, quoted where they are no names.
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
    let chinese: BTreeSet<String> =
        scripts.iter().filter(|(name, _)| is_chinese(name)).flat_map(|(_, script)| translated(script)).collect();
    let mut missing = Vec::new();
    for (name, script) in scripts.iter().filter(|(name, _)| !is_chinese(name)) {
        missing.extend(
            texts(script).into_iter().filter(|text| !chinese.contains(text)).map(|text| format!("{name}: {text}")),
        );
    }
    assert!(chinese.len() > 100, "{chinese:?}");
    assert!(missing.is_empty(), "zh-*.js lack:\n{}", missing.join("\n"));
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
        assert!(script.lines().count() <= LINES_MAX, "{name} has more than {LINES_MAX} lines");
    }
}

/// What one script alone may use, so that nobody forgets what goes with it.
const KEPT_TO: [(&str, &str, &str); 4] = [
    ("fetch(", "api.js", "a request carries the session's proof"),
    ("EventSource", "", "it cannot carry the session's proof: `getEvents`"),
    ("localStorage", "state.js", "storage may be blocked or full: `kept` and `keep`"),
    ("sessionStorage", "state.js", "storage may be blocked or full: `isFirst` and `anew`"),
];

#[test]
fn what_needs_care_is_used_in_one_place() {
    for (name, script) in scripts() {
        for (number, line) in script.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for (used, by, why) in KEPT_TO {
                assert!(name == by || !line.contains(used), "{name}:{}: {used}: {why}", number + 1);
            }
        }
    }
}

/// The table, named in capitals, that is asked for a name which it may not hold: `TABLE[name] ??`, `TABLE[name]?.` or
/// `name in TABLE`.
fn asked_table(line: &str) -> Option<&str> {
    let is_name = |text: &str| text.len() > 1 && text.chars().all(|char| char.is_ascii_uppercase() || char == '_');
    let is_part = |char: char| char.is_alphanumeric() || char == '_';
    let indexed = line.match_indices('[').filter_map(|(at, _)| {
        let table = &line[line[..at].rfind(|char| !is_part(char)).map_or(0, |before| before + 1)..at];
        let behind = &line[at + line[at..].find(']')? + 1..];
        (is_name(table) && (behind.starts_with(" ??") || behind.starts_with("?."))).then_some(table)
    });
    let held = line.match_indices(" in ").filter_map(|(at, word)| {
        let rest = &line[at + word.len()..];
        Some(&rest[..rest.find(|char| !is_part(char)).unwrap_or(rest.len())]).filter(|table| is_name(table))
    });
    indexed.chain(held).next()
}

#[test]
fn no_table_holds_what_every_object_has() {
    assert_eq!(asked_table("const tone = TONES[state] ?? 'quiet';"), Some("TONES"));
    assert_eq!(asked_table("TONES[one.state]?.[0]"), Some("TONES"));
    assert_eq!(asked_table("query.range in RANGES ? 1 : 2"), Some("RANGES"));
    for fine in ["pick(TONES, state, 'quiet')", "list[0]?.name", "DECISIONS[decision][0]", "for (const name in all)"] {
        assert_eq!(asked_table(fine), None, "{fine}");
    }
    for (name, script) in scripts() {
        for (number, line) in script.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let table = asked_table(line);
            assert_eq!(table, None, "{name}:{}: `constructor` is in every object, ask by `pick`", number + 1);
        }
    }
}
