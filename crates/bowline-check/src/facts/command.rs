//! What a shell command says of the programs and packages it is about. Nothing is run or expanded.

/// Where Cargo puts what it builds of the workspace that holds the system.
const TARGET_DIR: &str = "${target}/";

/// Programs, packages and folders that a command names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Named {
    /// Programs that Cargo builds: `shop-order` of `${target}/release/shop-order`.
    pub(super) programs: Vec<String>,
    /// Packages: `shop-order` of `cargo build -p shop-order`.
    pub(super) packages: Vec<String>,
    /// Folders of workspaces, from where the command runs: `order` of `order/target/release/shop-order`, of
    /// `cargo build --manifest-path order/Cargo.toml` and of `cd order && cargo build`. Empty: that very folder.
    pub(super) folders: Vec<String>,
}

impl Named {
    pub(super) fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.packages.is_empty() && self.folders.is_empty()
    }

    fn add_folder(&mut self, folder: &str) {
        // A variable may be anything.
        if !folder.contains('$') && !self.folders.iter().any(|known| known == folder) {
            self.folders.push(folder.to_owned());
        }
    }
}

/// Reads a command as a shell splits it, without what a shell would expand.
pub(super) fn named(command: &str) -> Named {
    let mut named = Named::default();
    let mut folder = String::new();
    for words in words(command).split(Option::is_none) {
        let words: Vec<&str> = words.iter().flatten().map(String::as_str).collect();
        if let ["cd", into] = words.as_slice() {
            folder = below(&folder, into);
            continue;
        }
        for program in words.iter().filter_map(|word| built(word)) {
            let (within, name) = program;
            named.programs.push(name.to_owned());
            match within {
                Some(within) if !below(&folder, within).is_empty() => named.add_folder(&below(&folder, within)),
                _ => {}
            }
        }
        if let Some(at) = words.iter().position(|word| *word == "cargo" || word.ends_with("/cargo")) {
            cargo(&words[at + 1..], &folder, &mut named);
        }
    }
    named
}

/// What Cargo is told, in that folder.
fn cargo(words: &[&str], folder: &str, named: &mut Named) {
    let mut is_elsewhere = false;
    let mut words = words.iter().take_while(|word| **word != "--");
    let mut is_run = false;
    while let Some(word) = words.next() {
        is_run |= *word == "run";
        let (option, given) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (*word, None),
        };
        if !["-p", "--package", "--bin", "--example", "--manifest-path"].contains(&option) {
            continue;
        }
        let Some(value) = given.or_else(|| words.next().copied()) else { continue };
        match option {
            // A package may be told with its version.
            "-p" | "--package" => named.packages.push(value.split('@').next().unwrap_or_default().to_owned()),
            "--bin" | "--example" => named.programs.push(value.to_owned()),
            _ => {
                is_elsewhere = true;
                named.add_folder(&below(folder, value.rsplit_once('/').map_or("", |(parent, _)| parent)));
            }
        }
    }
    if !is_elsewhere && (is_run || !folder.is_empty()) {
        named.add_folder(folder);
    }
}

/// The program, if the word is a path of what Cargo built, and the folder of its workspace, where that is said.
fn built(word: &str) -> Option<(Option<&str>, &str)> {
    let (within, path) = if let Some(path) = word.strip_prefix(TARGET_DIR) {
        (None, path)
    } else {
        let word = word.strip_prefix("./").unwrap_or(word);
        let own = word.strip_prefix("target/").map(|path| ("", path));
        own.or_else(|| word.split_once("/target/")).map(|(within, path)| (Some(within), path))?
    };
    path.rsplit('/').next().filter(|program| !program.is_empty()).map(|program| (within, program))
}

/// A folder as it is called from where the command began.
fn below(folder: &str, path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
    match (folder, path) {
        (_, "" | ".") => folder.to_owned(),
        ("", _) => path.to_owned(),
        (_, absolute) if absolute.starts_with('/') => absolute.to_owned(),
        (folder, path) => format!("{folder}/{path}"),
    }
}

/// The words of a command; nothing where one command ends and the next begins.
fn words(command: &str) -> Vec<Option<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ';' | '&' | '|' | '(' | ')' | '\n') => {
                words.extend(word.take().map(Some));
                words.push(None);
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take().map(Some)),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word.map(Some));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: &str, programs: &[&str], packages: &[&str]) {
        let Named { programs: found, packages: needed, folders: _ } = named(command);
        assert_eq!((found, needed), (to_strings(programs), to_strings(packages)), "{command}");
    }

    #[track_caller]
    fn check_folders(command: &str, expect: &[&str]) {
        assert_eq!(named(command).folders, expect, "{command}");
    }

    fn to_strings(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_path_of_what_cargo_built_is_a_program() {
        check("${target}/release/shop-order", &["shop-order"], &[]);
        check("exec ${target}/x86_64-unknown-linux-musl/release/order --port 0", &["order"], &[]);
        check("RUST_LOG=info './target/debug/order'", &["order"], &[]);
        check("python3 serve.py && \"${target}/debug/order\"", &["order"], &[]);
        check("/usr/bin/order ${data}/order ${target}/", &[], &[]);
    }

    #[test]
    fn cargo_is_told_programs_and_packages() {
        check("cargo build --release -p shop-user -p shop-order", &[], &["shop-user", "shop-order"]);
        check("cargo run --package=order@1.2 --bin order -- --bin other", &["order"], &["order"]);
        check("mkdir -p x; cargo build && cp -p a b", &[], &[]);
        check("~/.cargo/bin/cargo build -p", &[], &[]);
    }

    #[test]
    fn a_command_tells_in_which_folder_a_workspace_is() {
        check("order/target/release/order --port 0", &["order"], &[]);
        check_folders("./services/order/target/release/order --port 0", &["services/order"]);
        check_folders("cargo build --manifest-path order/Cargo.toml -p x", &["order"]);
        check_folders("cargo run --manifest-path=./Cargo.toml", &[""]);
        check_folders("cd order && cargo build --release && cd ../user; cargo build", &["order", "order/../user"]);
        check_folders("cd order && exec target/debug/order", &["order"]);
        check_folders("cd order && cargo run -- --manifest-path user/Cargo.toml", &["order"]);
        check_folders("cargo run --release", &[""]);
        check_folders("cargo build --release", &[]);
        check_folders("${target}/debug/order target/debug/order", &[]);
        check_folders("cd $HOME/order && cargo build && $X/target/debug/order", &[]);
        check_folders("cd order && ./serve.sh", &[]);
    }

    #[test]
    fn what_is_no_command_is_nothing() {
        for command in ["", "'", "\"", "\\", "cargo -p '", "a \\", "((((", "-p x"] {
            assert!(named(command).packages.iter().all(String::is_empty), "{command}");
        }
    }
}
