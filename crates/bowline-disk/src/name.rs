//! Names of files that are numbered: ten digits, and an ending that says what they are.

use std::path::{Path, PathBuf};

/// The path of the file with that number and ending.
pub fn numbered(dir: &Path, number: u32, extension: &str) -> PathBuf {
    dir.join(format!("{number:010}.{extension}"))
}

/// The number and the ending of a file, if its name is such a one.
pub fn number(path: &Path) -> Option<(u32, &str)> {
    let (digits, extension) = path.file_name()?.to_str()?.split_once('.')?;
    if digits.len() == 10 { Some((digits.parse().ok()?, extension)) } else { None }
}
