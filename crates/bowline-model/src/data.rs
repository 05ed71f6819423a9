//! How a service is told where the data it owns is: one rule for who tells and who is told.

use std::path::{Path, PathBuf};

use crate::{Secret, caches::is_place, monitor::SecretText, percent};

/// The folder of SQLite databases in the data folder.
pub const SQLITE_DIR: &str = "sqlite";

/// The kind of databases that are files in the data folder.
pub const SQLITE: &str = "sqlite";

/// The kind of databases that a PostgreSQL has.
pub const POSTGRES: &str = "postgres";

/// The longest URL of a server, in bytes.
const URL_LENGTH_MAX: usize = 1024;

/// What the file says of databases: `[databases]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabasesPolicy {
    /// Where those of the kind `postgres` are; absent: Bowline does not know, and tells nobody.
    pub postgres: Option<PostgresServer>,
}

impl DatabasesPolicy {
    /// The kinds of databases whose connection strings Bowline tells their owners.
    pub fn kinds_told(&self) -> &'static [&'static str] {
        if self.postgres.is_some() { &[SQLITE, POSTGRES] } else { &[SQLITE] }
    }
}

/// A PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresServer {
    /// Where it is: `127.0.0.1:5432`.
    place: String,
    /// Who asks it; empty where that is not said.
    user: String,
    /// Where the password stands that it demands, if it does; where no user is said, perhaps `USER:PASSWORD`.
    pub credential: Option<SecretText>,
}

impl PostgresServer {
    /// Reads `postgres://HOST:PORT`, perhaps with `USER@` before the host. None where it is something else, which may
    /// hold a password.
    pub fn parse(url: &str, credential: Option<SecretText>) -> Option<Self> {
        let rest = url.strip_prefix("postgres://").filter(|_| url.len() <= URL_LENGTH_MAX)?;
        let (user, place) = rest.split_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_user = user.is_none_or(|user| !user.is_empty() && user.bytes().all(is_letter));
        let user = user.unwrap_or_default().to_owned();
        (is_user && is_place(place)).then(|| Self { place: place.to_owned(), user, credential })
    }

    /// The connection string of its database of that name, or of the one it is within; `credential` is what stands
    /// where [`PostgresServer::credential`] says, and then in the string.
    pub fn url(&self, name: &str, credential: Option<&Secret>) -> String {
        let Self { place, user, credential: _ } = self;
        let (user, password) = match credential.map(Secret::expose) {
            None => (user.as_str(), ""),
            Some(password) if !user.is_empty() => (user.as_str(), password),
            Some(text) => text.split_once(':').unwrap_or(("", text)),
        };
        let password = if password.is_empty() { String::new() } else { format!(":{}", percent::encode(password, b"")) };
        let who = format!("{}{password}", percent::encode(user, b""));
        let at = if who.is_empty() { "" } else { "@" };
        format!("postgres://{who}{at}{place}/{}", database(name))
    }
}

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
    fn a_server_has_a_place_and_no_password() {
        for good in ["postgres://127.0.0.1:5432", "postgres://db_1.example", "postgres://shop@[::1]:5432"] {
            assert!(PostgresServer::parse(good, None).is_some(), "{good}");
        }
        for bad in [
            "postgres://",
            "postgres://shop:s3cret@db",
            "postgres://@db",
            "postgres://a@b@db",
            "postgres://db/order",
            "postgres://db:0",
            "postgres://db?sslmode=require",
            "mysql://db",
            "db:5432",
        ] {
            assert_eq!(PostgresServer::parse(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_credential_is_a_password_or_says_whose_it_is() {
        let (plain, named) = ("postgres://db:5432", "postgres://shop@db:5432");
        for (server, credential, url) in [
            (plain, None, "postgres://db:5432/order"),
            (plain, Some("s3cret"), "postgres://:s3cret@db:5432/order"),
            (plain, Some("ada:s3:cr@t/é"), "postgres://ada:s3%3Acr%40t%2F%C3%A9@db:5432/order"),
            (named, None, "postgres://shop@db:5432/order"),
            (named, Some("s3:cret"), "postgres://shop:s3%3Acret@db:5432/order"),
        ] {
            let server = PostgresServer::parse(server, None).unwrap();
            let credential = credential.map(Secret::new);
            assert_eq!(server.url("order/orders", credential.as_ref()), url);
        }
    }

    #[test]
    fn a_path_is_not_mistaken_for_more_than_a_path() {
        let url = sqlite_url(Path::new("/a b/50%?mode=ro#x/order.db"));
        assert_eq!(url, "sqlite:///a%20b/50%25%3Fmode=ro%23x/order.db");
    }
}
