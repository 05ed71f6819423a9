//! A rule's page, taken apart: its sections, and the files that their blocks of code are.

use std::ops::Range;

/// A page of `docs/rules`.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    text: String,
}

/// A block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// What stands behind its fence: the language.
    pub(crate) language: String,
    /// And the file it is, if it is one.
    pub(crate) file: String,
    pub(crate) content: String,
    /// Where its content is in the page, in bytes.
    at: Range<usize>,
}

impl Page {
    pub(crate) fn new(text: String) -> Self {
        Self { text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What its first line says, without the mark.
    pub(crate) fn heading(&self) -> &str {
        self.text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default()
    }

    /// The blocks of a section, in their order; empty where it has no such section.
    pub(crate) fn blocks(&self, section: &str) -> Vec<Block> {
        let (mut blocks, mut at, mut is_in_it) = (Vec::new(), 0, false);
        let mut open: Option<(usize, &str)> = None;
        for line in self.text.split_inclusive('\n') {
            let from = at;
            at += line.len();
            let line = line.trim_end();
            match (open, line.strip_prefix("```")) {
                (Some((begin, info)), Some(_)) => {
                    if is_in_it {
                        let (language, file) = info.split_once(' ').unwrap_or((info, ""));
                        let content = self.text[begin..from].to_owned();
                        let (language, file) = (language.to_owned(), file.trim().to_owned());
                        blocks.push(Block { language, file, content, at: begin..from });
                    }
                    open = None;
                }
                (None, Some(info)) => open = Some((at, info)),
                (None, None) if line.starts_with("## ") => is_in_it = line == format!("## {section}"),
                _ => {}
            }
        }
        blocks
    }

    /// The page with another content of a block.
    pub(crate) fn with(&self, block: &Block, content: &str) -> String {
        let Range { start, end } = block.at;
        format!("{}{content}{}", &self.text[..start], &self.text[end..])
    }
}

#[test]
fn sections_have_blocks_and_a_block_can_be_replaced() {
    let text = "# B0000: nothing\n\n```\nx\n```\n## One\n```toml bowline.toml\n## Two\na = 1\n```\n\
                ```json observed\n{}\n```\n## Two\n```text\nold\n```\nend\n";
    let page = Page::new(text.to_owned());
    assert_eq!(page.heading(), "B0000: nothing");
    let one = page.blocks("One");
    assert_eq!(one.len(), 2, "{one:?}");
    assert_eq!((&*one[0].language, &*one[0].file, &*one[0].content), ("toml", "bowline.toml", "## Two\na = 1\n"));
    assert_eq!((&*one[1].language, &*one[1].file), ("json", "observed"));
    let two = page.blocks("Two");
    assert_eq!(page.with(&two[0], "new\n"), text.replace("old", "new"));
    assert_eq!(page.blocks("Three"), []);
}
