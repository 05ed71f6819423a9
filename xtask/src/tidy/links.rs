//! Links in documents: what they point to in the checkout is there.

use std::path::Path;

use super::{File, Problem};

pub(super) fn check(root: &Path, files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("md")) {
        let folder = root.join(file.path.parent().unwrap_or_else(|| Path::new("")));
        for (line, target) in links(&file.text) {
            let is_there = match target.strip_prefix('/') {
                Some(from_root) => root.join(from_root).exists(),
                None => folder.join(&target).exists(),
            };
            if !is_there {
                let message = format!("the link to {target} leads nowhere, mend the path or write the file");
                problems.push(Problem::new(&*file.path, line, message));
            }
        }
    }
    problems
}

/// Every target inside the checkout, with its line, without its anchor.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        // What stands between an odd and an even backtick is code.
        for prose in line.split('`').step_by(2) {
            let targets = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
            links.extend(targets.filter(|target| is_file(target)).map(|target| (index + 1, without_anchor(target))));
        }
    }
    links
}

fn is_file(target: &str) -> bool {
    let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
    !is_elsewhere && !target.starts_with('#') && !target.is_empty()
}

fn without_anchor(target: &str) -> String {
    target.split('#').next().unwrap_or(target).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_into_the_checkout_are_followed() {
        let text = "[a](b.md#c) and [d](https://e.f/g)\n[h](#i)\n```\n[j](k)\n```\nan `[l](m)` [n](o/p.md \"title\")\n[`q`](r.md)\n";
        let expect = [(1, "b.md"), (6, "o/p.md"), (7, "r.md")].map(|(line, target)| (line, target.to_owned()));
        assert_eq!(links(text), expect);
    }
}
