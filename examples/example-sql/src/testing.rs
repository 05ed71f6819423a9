//! A service's tests on SQLite and on a real PostgreSQL: the same on both.

use std::{fmt, marker::PhantomData, sync::Arc};

use bowline::{Database, runtime::task};
use bowline_testkit::{TempDir, postgresql::Server};
use sqlx::{Postgres, Sqlite, migrate::Migrator};

use crate::{Db, Sql};

/// How many replicas start at once.
const AT_ONCE: usize = 8;

/// Makes of each function, which takes a [`Fixture`], a test on each database.
#[macro_export]
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::testing::Fixture::sqlite()).await;
            })+
        }

        mod postgresql {
            $(#[tokio::test]
            async fn $test() {
                if let Some(fixture) = $crate::testing::Fixture::postgresql() {
                    super::$test(fixture).await;
                }
            })+
        }
    };
}

/// A database of one test, empty until it is opened; it is there for as long as this is.
pub struct Fixture<DB> {
    place: Place,
    /// How many databases of it were used up.
    number: u32,
    _database: PhantomData<fn() -> DB>,
}

enum Place {
    Folder(TempDir),
    Server(Server),
}

impl Fixture<Sqlite> {
    /// In a folder of its own.
    pub fn sqlite() -> Self {
        Self { place: Place::Folder(bowline_testkit::temp_dir()), number: 0, _database: PhantomData }
    }
}

impl Fixture<Postgres> {
    /// Of a server of its own; none where there is no PostgreSQL, which is said.
    pub fn postgresql() -> Option<Self> {
        Some(Self { place: Place::Server(Server::start()?), number: 0, _database: PhantomData })
    }
}

impl<DB: Db> Fixture<DB> {
    /// Its connection string.
    pub fn url(&self) -> String {
        let name = format!("test{}", self.number);
        match &self.place {
            Place::Folder(dir) => format!("sqlite://{}", dir.path().join(name).display()),
            Place::Server(server) => server.url(&name),
        }
    }

    /// Another replica's connections.
    ///
    /// # Panics
    /// Where it cannot be opened.
    pub async fn open(&self, migrations: &Migrator) -> Sql<DB> {
        Sql::open(Database::at(&self.url()), migrations).await.expect("the database of a test opens")
    }

    /// What replicas make of it that start at once.
    ///
    /// # Panics
    /// Where one of them does.
    pub async fn at_once<T: Send + 'static, S: Future<Output = T> + Send + 'static>(
        self: &Arc<Self>,
        start: impl Fn(Arc<Self>) -> S,
    ) -> Vec<T> {
        let starting: Vec<_> = (0..AT_ONCE).map(|_| task::spawn(start(self.clone()))).collect();
        let mut started = Vec::new();
        for one in starting {
            started.push(one.await.expect("each of the replicas starts"));
        }
        started
    }

    /// From now on it is another one, which is empty.
    pub fn renew(&mut self) {
        self.number += 1;
    }
}

impl<DB> fmt::Debug for Fixture<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").finish_non_exhaustive()
    }
}
