//! The services' log lines, each behind the coloured name of its instance.

use std::collections::BTreeMap;

use bowline_model::InstanceId;

use crate::style::{Paint, printable};

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

    /// Makes place for names of that width, too.
    pub(crate) fn widen(&mut self, width: usize) {
        self.width = self.width.max(width);
    }

    /// The line as it is printed.
    pub(crate) fn line(&mut self, instance: &InstanceId, text: &str) -> String {
        let next = self.colours.len();
        let colour = *self.colours.entry(instance.clone()).or_insert(next);
        let name = format!("{:width$} │", instance.as_str(), width = self.width);
        format!("{} {}", Paint::Nth(colour).apply(name, self.is_coloured), printable(text, self.is_coloured))
    }
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
        assert_eq!(coloured.line(&id, "\x1b[31ma\x1b[2J"), "\x1b[36morder-1   │\x1b[0m \x1b[31ma");
    }
}
