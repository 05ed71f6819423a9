//! How a service is told where the data it owns is: one rule for who tells and who is told.

use std::path::{Path, PathBuf};

/// The folder of SQLite databases in the data folder.
pub const SQLITE_DIR: &str = "sqlite";

/// The database that a name is of: what stands before the first `/`.
pub fn database(name: &str) -> &str {
    name.split_once('/').map_or(name, |(database, _)| database)
}

/// The environment variable for a resource of that name.
///
/// `order.db` is told in `BOWLINE_DATA_ORDER_DB`: the name in capitals, with `_` for what a
/// variable's name cannot hold. What is within a database is told as the database is.
pub fn variable(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("BOWLINE_DATA_{}", database(name).chars().map(letter).collect::<String>())
}

/// The file of the SQLite database of that name, or of the one it is within.
pub fn sqlite_file(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join(SQLITE_DIR).join(database(name))
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
        assert_eq!(sqlite_file(Path::new("/data"), "order.db"), Path::new("/data/sqlite/order.db"));
    }

    #[test]
    fn what_is_within_a_database_is_reached_as_the_database() {
        assert_eq!(database("order.db/orders"), "order.db");
        assert_eq!(variable("order.db/orders"), variable("order.db"));
        let dir = Path::new("/data");
        assert_eq!(sqlite_file(dir, "order.db/orders/a"), sqlite_file(dir, "order.db"));
    }

    #[test]
    fn a_path_is_not_mistaken_for_more_than_a_path() {
        let url = sqlite_url(Path::new("/a b/50%?mode=ro#x/order.db"));
        assert_eq!(url, "sqlite:///a%20b/50%25%3Fmode=ro%23x/order.db");
    }
}
