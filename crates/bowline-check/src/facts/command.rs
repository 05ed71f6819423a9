//! What a shell command says of the programs and packages it is about. Nothing is run or expanded.

/// Where Cargo puts what it builds, as commands begin to name it.
const TARGET_DIRS: [&str; 3] = ["${target}/", "target/", "./target/"];

/// Programs and packages that a command names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Named {
    /// Programs that Cargo builds: `shop-order` of `${target}/release/shop-order`.
    pub(super) programs: Vec<String>,
    /// Packages: `shop-order` of `cargo build -p shop-order`.
    pub(super) packages: Vec<String>,
}

impl Named {
    pub(super) fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.packages.is_empty()
    }
}

/// Reads a command as a shell splits it, without what a shell would expand.
pub(super) fn named(command: &str) -> Named {
    let mut named = Named::default();
    let mut is_cargo = false;
    let mut words = words(command).into_iter();
    while let Some(word) = words.next() {
        let Some(word) = word else {
            is_cargo = false;
            continue;
        };
        if let Some(program) = built(&word) {
            named.programs.push(program.to_owned());
        }
        if word == "cargo" || word.ends_with("/cargo") {
            is_cargo = true;
        } else if word == "--" {
            is_cargo = false;
        }
        if !is_cargo {
            continue;
        }
        let (option, given) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let list = match option {
            "-p" | "--package" => &mut named.packages,
            "--bin" | "--example" => &mut named.programs,
            _ => continue,
        };
        if let Some(value) = given.or_else(|| words.next().flatten()) {
            // A package may be told with its version.
            list.push(value.split('@').next().unwrap_or_default().to_owned());
        }
    }
    named
}

/// The program, if the word is a path of what Cargo built.
fn built(word: &str) -> Option<&str> {
    let path = TARGET_DIRS.iter().find_map(|dir| word.strip_prefix(dir))?;
    path.rsplit('/').next().filter(|program| !program.is_empty())
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
        let Named { programs: found, packages: needed } = named(command);
        assert_eq!((found, needed), (programs.iter().map(ToString::to_string).collect(), to_strings(packages)));
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
    fn what_is_no_command_is_nothing() {
        for command in ["", "'", "\"", "\\", "cargo -p '", "a \\", "((((", "-p x"] {
            assert!(named(command).packages.iter().all(String::is_empty), "{command}");
        }
    }
}
