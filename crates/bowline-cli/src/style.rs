//! Colours on a terminal, none in a pipe or under `NO_COLOR`.

use std::{
    fmt::Display,
    io::{IsTerminal, Write},
};

/// Whether standard output takes colours.
pub(crate) fn is_coloured() -> bool {
    wants_colour(std::env::var_os("NO_COLOR").as_deref(), std::io::stdout().is_terminal())
}

fn wants_colour(no_color: Option<&std::ffi::OsStr>, is_terminal: bool) -> bool {
    is_terminal && no_color.is_none_or(std::ffi::OsStr::is_empty)
}

/// An ANSI colour or weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    /// One of six colours told apart easily, by index.
    Nth(usize),
}

impl Paint {
    fn code(self) -> u8 {
        const DISTINCT: [u8; 6] = [36, 35, 34, 33, 32, 96];
        match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Nth(index) => DISTINCT[index % DISTINCT.len()],
        }
    }

    /// The text in this colour, if colours are on.
    pub(crate) fn apply(self, text: impl Display, coloured: bool) -> String {
        if coloured { format!("\x1b[{}m{text}\x1b[0m", self.code()) } else { text.to_string() }
    }
}

/// Prints a line to standard output; a closed pipe is no error of ours.
pub(crate) fn line(text: &str) {
    let _closed = writeln!(std::io::stdout(), "{text}");
}

/// Prints an error to standard error.
pub(crate) fn error(text: &str) {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let _closed = writeln!(std::io::stderr(), "{} {text}", Paint::Red.apply("error:", coloured));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_and_no_color_are_respected() {
        assert!(wants_colour(None, true));
        assert!(wants_colour(Some("".as_ref()), true));
        assert!(!wants_colour(Some("1".as_ref()), true));
        assert!(!wants_colour(None, false));
        assert_eq!(Paint::Red.apply("x", false), "x");
    }
}
