//! How a service is told where the data it owns is: one rule for who tells and who is told.

use std::path::{Path, PathBuf};

/// The folder of SQLite databases in the data folder.
pub const SQLITE_DIR: &str = "sqlite";

/// The environment variable for a resource of that name.
///
/// `order.db` is told in `BOWLINE_DATA_ORDER_DB`: the name in capitals, with `_` for what a
/// variable's name cannot hold.
pub fn variable(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("BOWLINE_DATA_{}", name.chars().map(letter).collect::<String>())
}

/// The file of the SQLite database of that name; a name is one file, whatever it contains.
pub fn sqlite_file(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join(SQLITE_DIR).join(name.replace('/', "_"))
}

/// The connection string of the SQLite database in that file.
///
/// What would end the path of a URL, or means something else within it, is percent-encoded.
pub fn sqlite_url(file: &Path) -> String {
    let path = file.to_string_lossy();
    let mut url = String::with_capacity("sqlite://".len() + path.len());
    url.push_str("sqlite://");
    for char in path.chars() {
        match char {
            '%' => url.push_str("%25"),
            '?' => url.push_str("%3F"),
            '#' => url.push_str("%23"),
            ' ' => url.push_str("%20"),
            other => url.push(other),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_variables_and_files() {
        assert_eq!(variable("order.db"), "BOWLINE_DATA_ORDER_DB");
        assert_eq!(sqlite_file(Path::new("/data"), "a/b.db"), Path::new("/data/sqlite/a_b.db"));
    }

    #[test]
    fn a_path_is_not_mistaken_for_more_than_a_path() {
        let url = sqlite_url(Path::new("/a b/50%?mode=ro#x/order.db"));
        assert_eq!(url, "sqlite:///a%20b/50%25%3Fmode=ro%23x/order.db");
    }
}
