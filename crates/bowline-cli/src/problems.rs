//! Reads a system's file and shows everything that is wrong with it.

use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use bowline_model::{Problem, System, parse, problem};

use crate::brought::{self, Brought};

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) system: System,
    /// The folder the file is in, absolute.
    pub(crate) dir: PathBuf,
    /// What it brings along into the store.
    pub(crate) brought: Vec<Brought>,
    /// The file, as whoever asks names it.
    pub(crate) file: PathBuf,
    pub(crate) text: String,
    /// What it declares and is not built yet; empty but where it is only proved.
    pub(crate) unbuilt: Vec<Problem>,
}

/// What a text declares, and what of it is not built yet.
type Read = Result<(System, Vec<Problem>), Vec<Problem>>;

/// What was wrong: ready to print, but for what follows from it.
#[derive(Debug)]
struct Unusable(String);

/// Reads `DIR/bowline.toml`, or the file itself, with a profile if one is chosen, to run it; says on standard error
/// what is wrong with it.
pub(crate) fn load_or_say(dir_or_file: &Path, profile: Option<&str>) -> anyhow::Result<Option<Loaded>> {
    let runnable = |text: &str| parse::parse_with(text, profile).map(|system| (system, Vec::new()));
    Ok(or_say(load(dir_or_file, runnable)?, ": nothing was started"))
}

/// The same to prove it alone: what is not built yet is no fault.
pub(crate) fn declared_or_say(dir_or_file: &Path, profile: Option<&str>) -> anyhow::Result<Option<Loaded>> {
    Ok(or_say(load(dir_or_file, |text| parse::declared(text, profile))?, ""))
}

fn or_say(loaded: Result<Loaded, Unusable>, so_what: &str) -> Option<Loaded> {
    match loaded {
        Ok(loaded) => Some(loaded),
        Err(Unusable(report)) => {
            let _closed = writeln!(io::stderr(), "{report}{so_what}");
            None
        }
    }
}

fn load(dir_or_file: &Path, parse: impl Fn(&str) -> Read) -> anyhow::Result<Result<Loaded, Unusable>> {
    let is_dir = dir_or_file.is_dir();
    let file = if is_dir { dir_or_file.join("bowline.toml") } else { dir_or_file.to_path_buf() };
    let shown = file.display().to_string();
    let bytes = match read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(absent(is_dir, &shown))),
        Err(error) => return Err(error).context(format!("cannot read {shown}")),
    };
    let text = match parse::decode(&bytes) {
        Ok(text) => text,
        Err(problem) => return Ok(Err(report(&shown, &String::from_utf8_lossy(&bytes), &[problem]))),
    };
    let (system, unbuilt) = match parse(text) {
        Ok(read) => read,
        Err(problems) => return Ok(Err(report(&shown, text, &problems))),
    };
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = std::path::absolute(parent.unwrap_or(Path::new(".")))?;
    let dir = dir.canonicalize().unwrap_or(dir);
    match brought::read(&system, text, &dir) {
        Ok(brought) => Ok(Ok(Loaded { system, dir, brought, text: text.to_owned(), file, unbuilt })),
        Err(problems) => Ok(Err(report(&shown, text, &problems))),
    }
}

/// The file, or as much of it as shows that it is too long.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = parse::TEXT_MAX as u64 + 1;
    bowline_runtime::fs::File::open(file)?.take(bound).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is not there has no line.
fn absent(is_in_dir: bool, file: &str) -> Unusable {
    let what = if is_in_dir { "file" } else { "file or folder" };
    let hint = "write one that begins with `name = \"shop\"`, or name the folder that has one";
    Unusable(format!("error: there is no {what} {file}\n   hint: {hint}\n1 problem in {file}"))
}

fn report(file: &str, text: &str, problems: &[Problem]) -> Unusable {
    let mut report: String = problems.iter().map(|found| problem::render(file, text, found)).collect();
    let count = problems.len();
    let plural = if count == 1 { "" } else { "s" };
    let _infallible = write!(report, "{count} problem{plural} in {file}");
    Unusable(report)
}
