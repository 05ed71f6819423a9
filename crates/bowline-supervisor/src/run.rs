//! The id of a run, by which the next one finds what both `bowline` and its keepers left when they
//! were killed together.

use std::{fmt, io, path::Path};

use bowline_runtime::{fs, rand};

use crate::{Error, kept};

/// The file in the data folder that holds the last run's id.
const FILE: &str = "run";

/// What the file begins with: the format that is written, and the only one that is read.
const FORMAT: &str = "bowline run 1 ";

/// How an id is written: 32 hexadecimal digits.
const DIGITS: usize = 32;

/// The id of a run, which no other has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunId(u128);

impl RunId {
    /// Kills what an earlier run over this data folder left behind, then makes this run the last
    /// one, durably.
    ///
    /// What the new run starts is known by the id before it exists, so nobody is ever started whom
    /// the next run cannot find.
    ///
    /// # Cancel safety
    /// Who was killed is dead; it can be begun again.
    pub(crate) async fn take_over(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        let failed = |source| Error::Run { path: path.clone(), source };
        if let Some(earlier) = read(&path).map_err(failed)? {
            kept::sweep(&earlier.marks()).await;
        }
        let run = Self::new();
        fs::replace_private(&path, format!("{FORMAT}{run}\n").as_bytes()).map_err(failed)?;
        Ok(run)
    }

    fn new() -> Self {
        Self(rand::u128())
    }

    /// A mark for one tree of processes of this run.
    pub(crate) fn new_mark(self) -> String {
        format!("{}{:032x}", self.marks(), rand::u128())
    }

    /// What the marks of all trees of this run begin with.
    fn marks(self) -> String {
        format!("{self}-")
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$x}", self.0)
    }
}

/// The last run's id; none if there was none.
fn read(path: &Path) -> io::Result<Option<RunId>> {
    match fs::read_to_string(path) {
        // An id that is not whole would be the beginning of others' marks, too.
        Ok(text) => parse(&text)
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its format is unknown to this release")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(text: &str) -> Option<RunId> {
    let digits = text.strip_prefix(FORMAT)?.strip_suffix('\n')?;
    let is_id = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| u128::from_str_radix(digits, 16).ok().map(RunId))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_id_is_read() {
        let run = RunId(0xab);
        let text = format!("{FORMAT}{run}\n");
        assert_eq!(parse(&text), Some(run));
        assert!(run.new_mark().starts_with("000000000000000000000000000000ab-"));
        for bad in ["", "\n", "bowline run 1 \n", "bowline run 1 ab\n", text.trim_end(), &text.replace('1', "2")] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
