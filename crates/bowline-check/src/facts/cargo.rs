//! Asks Cargo for the packages of a workspace, and for those that their paths lead to.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bowline_runtime::{fs, process::Command, time};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Notes, files, told};

/// The longest that Cargo may take to say what a workspace has.
const TIME_MAX: Duration = Duration::from_secs(30);

/// The most that Cargo may say of one workspace, in bytes: some 20,000 packages.
const OUTPUT_MAX: usize = 64 << 20;

/// How much of what Cargo complains of is read, in bytes.
const COMPLAINT_MAX: usize = 64 << 10;

/// The most workspaces that are asked for: the system's own, and those that paths lead to.
const WORKSPACES_MAX: usize = 32;

/// A package on this machine.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) manifest_path: PathBuf,
    pub(super) targets: Vec<Target>,
    pub(super) dependencies: Vec<Requirement>,
    /// Whether it is of a workspace that the system is made from, not only of one that a path leads to.
    #[serde(skip)]
    pub(super) is_member: bool,
}

impl Package {
    pub(super) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    /// Whether it has a program of that name.
    pub(super) fn has_program(&self, name: &str) -> bool {
        let is_program = |target: &Target| target.kind.iter().any(|kind| kind == "bin" || kind == "example");
        self.targets.iter().any(|target| target.name == name && is_program(target))
    }

    /// What it is built with that is on this machine. What its tests need is nobody's business.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&Requirement, &Path)> {
        let built_with = self.dependencies.iter().filter(|needed| needed.kind.as_deref() != Some("dev"));
        built_with.filter_map(|needed| Some((needed, needed.path.as_deref()?)))
    }
}

/// What Cargo builds of a package.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Target {
    name: String,
    kind: Vec<String>,
}

/// A dependency as a manifest declares it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Requirement {
    name: String,
    rename: Option<String>,
    /// `dev`, `build`, or absent for what is linked.
    pub(super) kind: Option<String>,
    /// On which platforms, where not on all.
    pub(super) target: Option<String>,
    path: Option<PathBuf>,
}

impl Requirement {
    /// Its key in the manifest.
    pub(super) fn key(&self) -> &str {
        self.rename.as_deref().unwrap_or(&self.name)
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

/// Why Cargo's word of a workspace is missing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("its folder is not there")]
    Folder(#[source] io::Error),
    #[error("cannot run cargo")]
    Run(#[source] io::Error),
    #[error("cargo did not answer within {} s", TIME_MAX.as_secs())]
    Late,
    #[error("cargo failed ({status}): {complaint}")]
    Failed { status: ExitStatus, complaint: String },
    #[error("cargo says more than {} MiB of the workspace", OUTPUT_MAX >> 20)]
    Long,
    #[error("cargo's answer is not understood")]
    Answer(#[source] serde_json::Error),
}

/// What is on this machine of what a system is made from.
#[derive(Debug, Default)]
pub(super) struct Workspaces {
    /// Where the system's commands run.
    pub(super) root: PathBuf,
    /// Those of the workspaces of the system first, then those that their paths lead to.
    pub(super) packages: Vec<Package>,
}

/// The packages of the workspace that holds `dir`, if one does, of those in the `folders` that commands name, and of
/// those that paths lead to.
///
/// Where the workspace that holds `dir` cannot be told, or Cargo cannot be run, that is noted, and there is nothing.
///
/// # Cancel safety
/// Dropping the future kills the `cargo` that runs.
pub(super) async fn workspaces(
    program: &OsStr,
    dir: &Path,
    folders: &BTreeSet<PathBuf>,
    notes: &mut Notes,
) -> Option<Workspaces> {
    let mut root = dir.to_owned();
    let mut found = Found { program, dir, packages: Vec::new(), asked: BTreeSet::new(), unrun: None, notes };
    if is_around(dir) {
        match ask(program, dir).await {
            Ok(metadata) => {
                root = metadata.workspace_root;
                found.add(metadata.packages, true);
            }
            Err(error) => {
                found.notes.add(None, format!("the workspace is not looked at: {}", told(&error)));
                return None;
            }
        }
    }
    for folder in folders {
        found.look(&root.join(folder), true).await;
    }
    while let Some(folder) = found.unknown() {
        found.look(&folder, false).await;
    }
    if let Some(error) = found.unrun {
        notes.add(None, format!("packages and migrations are not looked at: {}", told(&error)));
        return None;
    }
    Some(Workspaces { root, packages: found.packages })
}

/// What Cargo was asked, and what it said.
#[derive(Debug)]
struct Found<'a> {
    program: &'a OsStr,
    dir: &'a Path,
    packages: Vec<Package>,
    asked: BTreeSet<PathBuf>,
    /// Why Cargo cannot be run.
    unrun: Option<Error>,
    notes: &'a mut Notes,
}

impl Found<'_> {
    /// Asks for the workspace of a folder, unless a package in it is known.
    async fn look(&mut self, folder: &Path, is_member: bool) {
        if !self.asked.insert(folder.to_owned()) || self.unrun.is_some() {
            return;
        }
        if self.asked.len() >= WORKSPACES_MAX {
            if self.asked.len() == WORKSPACES_MAX {
                let message = format!("there are more than {WORKSPACES_MAX} workspaces, the others are left out");
                self.notes.add(None, message);
            }
            return;
        }
        let answer = match fs::canonicalize(folder).map_err(Error::Folder) {
            Ok(folder) if self.packages.iter().any(|package| package.folder() == folder) => return,
            Ok(folder) => ask(self.program, &folder).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(metadata) => self.add(metadata.packages, is_member),
            Err(error @ Error::Run(_)) => self.unrun = Some(error),
            Err(error) => {
                let file = files::relative(self.dir, folder);
                self.notes.add(Some(file), format!("it is not looked at: {}", told(&error)));
            }
        }
    }

    fn add(&mut self, packages: Vec<Package>, is_member: bool) {
        let known: BTreeSet<PathBuf> = self.packages.iter().map(|package| package.folder().to_owned()).collect();
        let new = packages.into_iter().filter(|package| !known.contains(package.folder()));
        self.packages.extend(new.map(|package| Package { is_member, ..package }));
    }

    /// A folder that a path leads to, of which nothing is known.
    fn unknown(&self) -> Option<PathBuf> {
        let known: BTreeSet<&Path> = self.packages.iter().map(Package::folder).collect();
        let mut paths = self.packages.iter().flat_map(Package::paths).map(|(_, path)| path);
        paths.find(|path| !known.contains(path) && !self.asked.contains(*path)).map(ToOwned::to_owned)
    }
}

/// Whether a Cargo project is in that folder or above it.
pub(super) fn is_around(dir: &Path) -> bool {
    dir.ancestors().any(|folder| fs::metadata(folder.join("Cargo.toml")).is_ok())
}

async fn ask(program: &OsStr, dir: &Path) -> Result<Metadata, Error> {
    let mut command = Command::new(program);
    command
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(dir)
        // A toolchain that the workspace asks for is not installed on the way.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .env("CARGO_TERM_COLOR", "never")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(Error::Run)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let answer = async {
        let (answer, complaint) = tokio::join!(read(stdout, OUTPUT_MAX + 1), read(stderr, COMPLAINT_MAX));
        let (answer, complaint) = (answer?, complaint?);
        Ok((answer, complaint, child.wait().await?))
    };
    let (answer, complaint, status) = match time::timeout(TIME_MAX, answer).await {
        Err(_) => return Err(Error::Late),
        Ok(ended) => ended.map_err(Error::Run)?,
    };
    if answer.len() > OUTPUT_MAX {
        return Err(Error::Long);
    }
    if !status.success() {
        return Err(Error::Failed { status, complaint: in_one_line(&complaint) });
    }
    serde_json::from_slice(&answer).map_err(Error::Answer)
}

async fn read(from: Option<impl AsyncRead + Unpin>, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(max as u64).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// What Cargo complains of, without its indentation.
fn in_one_line(complaint: &[u8]) -> String {
    /// The most characters that are shown.
    const SHOWN_MAX: usize = 400;

    let text = String::from_utf8_lossy(complaint);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    match line.char_indices().nth(SHOWN_MAX) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_owned(),
    }
}
