//! The services' log lines, each behind the coloured name of its instance.

use std::collections::BTreeMap;

use bowline_model::InstanceId;

use crate::style::Paint;

/// Gives each instance a colour and all of them the same width.
#[derive(Debug)]
pub(crate) struct Prefixes {
    colours: BTreeMap<InstanceId, usize>,
    width: usize,
    is_coloured: bool,
}

impl Prefixes {
    /// For names of at most that width.
    pub(crate) fn new(width: usize, is_coloured: bool) -> Self {
        Self { colours: BTreeMap::new(), width, is_coloured }
    }

    /// The line as it is printed.
    pub(crate) fn line(&mut self, instance: &InstanceId, text: &str) -> String {
        let next = self.colours.len();
        let colour = *self.colours.entry(instance.clone()).or_insert(next);
        let name = format!("{:width$} │", instance.as_str(), width = self.width);
        format!("{} {}", Paint::Nth(colour).apply(name, self.is_coloured), printable(text, self.is_coloured))
    }
}

/// The text without control characters; colours of the service itself stay where ours are on.
fn printable(text: &str, is_coloured: bool) -> String {
    if is_coloured {
        return text.chars().filter(|c| !c.is_control() || *c == '\t' || *c == '\x1b').collect();
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => {
                // An escape sequence ends with a letter.
                let _end = chars.by_ref().find(char::is_ascii_alphabetic);
            }
            c if c.is_control() && c != '\t' => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_carries_its_instance() {
        let id = InstanceId::new("order-1").unwrap();
        let mut plain = Prefixes::new(9, false);
        assert_eq!(plain.line(&id, "a\x1b[31mb\x1b[0m\rc"), "order-1   │ abc");
        let mut coloured = Prefixes::new(9, true);
        assert_eq!(coloured.line(&id, "a"), "\x1b[36morder-1   │\x1b[0m a");
    }
}
