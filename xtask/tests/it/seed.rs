//! `docs/seed.md`, held against the mission document and the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Words of the document's sketches that are no names of its own: of the standard library, of other crates, of
/// the prose within formulas.
const FOREIGN: [&str; 46] = [
    "Arc",
    "AtomicU32",
    "AtomicU64",
    "Box",
    "Client",
    "Clone",
    "Config",
    "Debug",
    "Deserialize",
    "DeserializeOwned",
    "Duration",
    "Err",
    "Error",
    "FnOnce",
    "Fut",
    "Future",
    "HashMap",
    "None",
    "Ok",
    "Option",
    "Ordering",
    "Output",
    "Relaxed",
    "Result",
    "RwLock",
    "Self",
    "Send",
    "Serialize",
    "Some",
    "String",
    "Sync",
    "SystemTime",
    "UNIX_EPOCH",
    "Vec",
    "if",
    "elapsed",
    "otherwise",
    "T",
    "F",
    "E",
    "S",
    "A",
    "R",
    "HTTP",
    "I",
    "O",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in the workspace").to_owned()
}

/// The rows of the page: name, item.
fn rows(page: &str) -> Vec<(&str, &str)> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(name, rest)| Some((name, rest.split_once(" |")?.0.trim_matches('`'))))
        .collect()
}

/// The names of the document: `\text{…}` of its formulas, what its sketches define, and the types they use.
fn names(document: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, block) in document.split("```").enumerate() {
        if at % 2 == 0 {
            formulas(block, &mut names);
        } else {
            sketch(block, &mut names);
        }
    }
    names.retain(|name| !FOREIGN.contains(&name.as_str()));
    names
}

fn formulas(prose: &str, names: &mut BTreeSet<String>) {
    for formula in prose.split('$').skip(1).step_by(2).filter(|formula| !formula.is_empty()).chain(
        // `$$` opens a formula of its own line.
        prose.split("$$").skip(1).step_by(2),
    ) {
        for text in formula.split("\\text{").skip(1) {
            let text = text.split_once('}').map_or(text, |(text, _)| text).replace('\\', "");
            names.insert(text.trim().to_owned());
        }
    }
}

fn sketch(code: &str, names: &mut BTreeSet<String>) {
    let code: String =
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let words: Vec<&str> = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    for pair in words.windows(2) {
        let is_defined = ["struct", "trait", "enum", "fn", "type"].contains(&pair[0]);
        let is_type = pair[1].starts_with(|letter: char| letter.is_ascii_uppercase());
        if is_defined || is_type {
            names.insert(pair[1].to_owned());
        }
    }
}

#[test]
fn every_name_of_the_document_has_a_row() {
    let document = fs::read_to_string(root().join("docs/seed/microservice-patterns.md")).unwrap();
    let page = fs::read_to_string(root().join("docs/seed.md")).unwrap();
    let names = names(&document);
    assert!(names.len() > 120, "the document is not understood: {names:?}");
    let rows: BTreeSet<String> = rows(&page).into_iter().map(|(name, _)| name.to_owned()).collect();
    let missing: Vec<_> = names.difference(&rows).collect();
    let surplus: Vec<_> = rows.difference(&names).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "without a row: {missing:?}; in no document: {surplus:?}");
}

#[test]
fn every_item_of_the_page_exists() {
    let page = fs::read_to_string(root().join("docs/seed.md")).unwrap();
    let mut sources = BTreeMap::new();
    let mut lost = Vec::new();
    for (name, item) in rows(&page) {
        let line = page.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap();
        let is_known = match item.split_once("::") {
            None => item == "–" && line.contains("not built yet"),
            Some(("http", _)) => true,
            Some((package, path)) => {
                let (modules, rest) = modules(path);
                let place = (package.to_owned(), modules.join("/"));
                let source = sources.entry(place).or_insert_with_key(|(package, module)| source(package, module));
                rest.iter().all(|part| is_defined(source, part))
            }
        };
        if !is_known {
            lost.push(format!("{name}: {item}"));
        }
    }
    assert!(lost.is_empty(), "in no source: {lost:#?}");
}

/// A path's modules, and what they lead to: an item, and of that a method or a variant.
fn modules(path: &str) -> (Vec<&str>, Vec<&str>) {
    let parts: Vec<&str> = path.split("::").collect();
    let is_module = |part: &&&str| part.starts_with(|letter: char| letter.is_ascii_lowercase());
    let count = parts[..parts.len() - 1].iter().take_while(is_module).count();
    (parts[..count].to_vec(), parts[count..].to_vec())
}

/// All sources of a crate's module, as `control/publish`; of the whole crate where that is empty.
fn source(package: &str, module: &str) -> String {
    let name = package.replace('_', "-");
    let places =
        ["crates", "examples/bank", "examples/iot", "examples/shop"].map(|folder| root().join(folder).join(&name));
    let dir = places.iter().find(|dir| dir.exists()).unwrap_or_else(|| panic!("there is no package {name}"));
    let module = dir.join("src").join(module);
    let mut text = fs::read_to_string(module.with_extension("rs")).unwrap_or_default();
    let mut folders = vec![module];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("sources can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(path).expect("a source is text"));
            }
        }
    }
    text
}

/// Whether an item, a field or a variant of that name is defined there.
fn is_defined(source: &str, name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    let keywords = ["struct ", "enum ", "trait ", "fn ", "mod ", "const ", "static ", "type "];
    let is_item = keywords.iter().any(|keyword| {
        source.match_indices(keyword).any(|(at, _)| source[at + keyword.len()..].strip_prefix(name).is_some_and(ends))
    });
    let is_member = || {
        source.lines().map(str::trim_start).any(|line| {
            let line = line.strip_prefix("pub ").unwrap_or(line);
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([',', ':', '(', ' ']) || rest.is_empty())
        })
    };
    is_item || is_member()
}

#[test]
fn an_item_is_looked_for_in_its_module() {
    assert_eq!(modules("observed::Event::Send"), (vec!["observed"], vec!["Event", "Send"]));
    assert_eq!(modules("parse"), (vec![], vec!["parse"]));
    assert!(is_defined(&source("bowline_model", "observed"), "Event"));
    assert!(!is_defined(&source("bowline_model", "units"), "Event"));
    assert!(source("bowline_model", "observing").is_empty());
}
