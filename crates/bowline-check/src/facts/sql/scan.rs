//! Walks over a script's pieces and keeps what stands where a table is named.

use std::collections::{BTreeMap, BTreeSet};

use bowline_model::problem::Position;

use super::{
    Dialect, Error, Named, Way,
    cursor::{Cursor, Key},
    lives::{LifeId, Lives},
    pieces::{Kind, Piece},
    stack::{Level, Stack, Verb},
    words::{BEFORE_STATEMENT, CATALOGUE_PREFIX, DUAL, ENDS, FOREIGN_PREFIXES, FOREIGN_SCHEMAS, INSERT_WORDS, PASSED},
};

/// How deep parentheses may be.
const DEPTH_MAX: usize = 256;

/// A scan over a script.
#[derive(Debug)]
pub(super) struct Scan<'p> {
    cursor: Cursor<'p>,
    dialect: Dialect,
    /// Whether what is read here undoes a script.
    is_undo: bool,
    stack: Stack,
    /// Whether the next `ON` is followed by a table: of an index, a trigger, a policy.
    awaits_on: bool,
    /// The table that the statement alters, and where it is named.
    altered: Option<(Key, Position)>,
    lives: &'p mut Lives,
    found: BTreeMap<(LifeId, Key), Named>,
    temporary: BTreeSet<String>,
}

impl<'p> Scan<'p> {
    pub(super) fn new(pieces: &'p [Piece], dialect: Dialect, way: Way, lives: &'p mut Lives) -> Self {
        Self {
            cursor: Cursor::new(pieces),
            dialect,
            is_undo: way == Way::Down,
            stack: Stack::new(),
            awaits_on: false,
            altered: None,
            lives,
            found: BTreeMap::new(),
            temporary: BTreeSet::new(),
        }
    }

    /// The tables, each once for each of its lives.
    pub(super) fn run(mut self) -> Result<Vec<(LifeId, Named)>, Error> {
        while let Some((at, piece)) = self.cursor.next() {
            self.step(at, piece)?;
        }
        Ok(self.found.into_iter().map(|((life, _), named)| (life, named)).collect())
    }

    /// Looks at a piece, and goes on past what is looked at with it.
    fn step(&mut self, at: usize, piece: &'p Piece) -> Result<(), Error> {
        let is_after_definition = std::mem::take(&mut self.stack.top().is_after_definition);
        match &piece.kind {
            Kind::Semicolon => self.begin_statement(),
            Kind::Turn { is_undo } => {
                self.begin_statement();
                self.is_undo = *is_undo;
            }
            Kind::Open if self.stack.depth() == DEPTH_MAX => {
                return Err(Error::Deep { position: piece.position, max: DEPTH_MAX });
            }
            Kind::Open => self.open(at),
            Kind::Close => self.stack.close(),
            Kind::Comma if is_after_definition => self.define(self.cursor.at),
            Kind::Comma => {
                let top = self.stack.top();
                top.expects = top.list;
            }
            Kind::Word(word) => self.word(word, at, is_after_definition),
            Kind::Quoted(_) => self.listed(at),
            Kind::Dot | Kind::Other => self.stack.top().expects = None,
        }
        Ok(())
    }

    fn begin_statement(&mut self) {
        self.stack = Stack::new();
        self.cursor.began = self.cursor.at;
        (self.awaits_on, self.altered) = (false, None);
    }

    fn open(&mut self, at: usize) {
        let mut level = Level::default();
        if self.cursor.word_before(at) == Some("INHERITS") {
            level.begin_list(false);
        }
        let top = self.stack.top();
        // A subquery, or tables that are joined first: `FROM (a JOIN b …)`.
        if let Some(is_written) = top.expects.take() {
            level.begin_list(is_written);
        }
        self.stack.open(level);
    }

    fn word(&mut self, word: &'p str, at: usize, is_after_definition: bool) {
        let is_first = is_after_definition || self.is_first(at);
        match word {
            "GRANT" | "REVOKE" | "COMMENT" if at == self.cursor.began => self.skip_statement(),
            "CREATE" if is_first => self.create(at),
            "ALTER" if is_first => self.alter(),
            "DROP" if is_first => self.drop_object(),
            "RENAME" if is_first && self.cursor.word_at(self.cursor.at) == Some("TABLE") => self.rename_tables(),
            "TRUNCATE" if is_first => self.truncate(),
            "COPY" if at == self.cursor.began => self.copy(),
            "INSERT" | "REPLACE" if is_first => self.insert(),
            "MERGE" if is_first => self.merge(),
            "UPDATE" if is_first => self.begin(Verb::Update, Some(true)),
            "DELETE" if is_first => self.begin(Verb::Delete, None),
            "SELECT" => self.begin(Verb::Select, None),
            "WITH" => self.with(),
            "FROM" => self.from(at),
            "USING" if self.is_using_tables() => self.stack.top().begin_list(false),
            "JOIN" | "STRAIGHT_JOIN" if self.stack.top().list.is_some() => self.stack.top().expects = Some(false),
            "ON" if self.awaits_on && self.stack.depth() == 0 => {
                self.awaits_on = false;
                self.cursor.pass("ONLY");
                self.take(true);
            }
            "REFERENCES" => self.take(false),
            // `ROWS FROM (function(), …)`.
            "ROWS" if self.cursor.word_at(self.cursor.at) == Some("FROM") => {}
            "INTO" if self.is_select_into() => self.select_into(),
            "INTO" if self.cursor.pass("TABLE") => self.take(true),
            "PARTITION" if self.cursor.pass("OF") => self.take(true),
            "LIKE" if matches!(self.cursor.kind_before(at), Some(Kind::Open | Kind::Comma)) => self.take(false),
            "SET" if self.altered.is_some() && self.cursor.pass("SCHEMA") => self.moved(),
            "RENAME" | "ATTACH" | "DETACH" | "INHERIT" if self.altered.is_some() => self.altering(word),
            _ if ENDS.contains(&word) => self.stack.top().end_list(),
            _ if PASSED.contains(&word) => {}
            _ => self.listed(at),
        }
    }

    /// Whether a statement, or the query after common table expressions, begins here.
    fn is_first(&mut self, at: usize) -> bool {
        if at == self.cursor.began {
            return true;
        }
        let begins_within = self.cursor.word_before(at).is_some_and(|word| BEFORE_STATEMENT.contains(&word));
        let depth = self.stack.depth();
        let top = self.stack.top();
        match depth {
            // In a query, `ELSE` is of a `CASE`.
            0 => begins_within && matches!(top.verb, Verb::None | Verb::Merge),
            _ => top.defines.is_some() && self.cursor.kind_before(at) == Some(&Kind::Open),
        }
    }

    fn begin(&mut self, verb: Verb, list: Option<bool>) {
        let is_sqlite = self.dialect == Dialect::Sqlite;
        let top = self.stack.top();
        top.verb = verb;
        top.end_list();
        if let Some(is_written) = list {
            top.begin_list(is_written);
            // `UPDATE OR IGNORE orders`.
            if is_sqlite && self.cursor.pass("OR") {
                self.cursor.at += 1;
            }
        }
    }

    fn from(&mut self, at: usize) {
        // `a IS DISTINCT FROM b`.
        if self.cursor.word_before(at) == Some("DISTINCT")
            && matches!(self.cursor.word_before(at.saturating_sub(1)), Some("IS" | "NOT"))
        {
            return;
        }
        let top = self.stack.top();
        match top.verb {
            Verb::None | Verb::Merge => {}
            Verb::Delete => {
                top.verb = Verb::DeleteFrom;
                top.begin_list(true);
            }
            Verb::Select | Verb::Update | Verb::DeleteFrom => top.begin_list(false),
        }
    }

    /// Whether `USING` is followed by tables, and not by the columns of a join.
    fn is_using_tables(&mut self) -> bool {
        let are_columns = self.cursor.kind_at(self.cursor.at) == Some(&Kind::Open)
            && !matches!(self.cursor.word_at(self.cursor.at + 1), Some("SELECT" | "WITH" | "VALUES"));
        matches!(self.stack.top().verb, Verb::DeleteFrom | Verb::Merge) && !are_columns
    }

    /// A name, where one of a list of tables is expected. What has arguments is a function.
    fn listed(&mut self, at: usize) {
        let Some(is_written) = self.stack.top().expects.take() else { return };
        let Some((key, position, next)) = self.cursor.name(at) else { return };
        self.cursor.at = next;
        if self.cursor.kind_at(next) != Some(&Kind::Open) {
            self.keep(key, is_written, position);
        }
    }

    /// Keeps the name that follows, if one does.
    fn take(&mut self, is_written: bool) {
        if let Some((key, position, next)) = self.cursor.name(self.cursor.at) {
            self.cursor.at = next;
            self.keep(key, is_written, position);
        }
    }

    /// Keeps the names that follow, with commas between them; each is handed on.
    fn take_all(&mut self, mut each: impl FnMut(&mut Self, Key)) {
        loop {
            self.cursor.pass("ONLY");
            let Some((key, position, next)) = self.cursor.name(self.cursor.at) else { return };
            self.cursor.at = next;
            self.keep(key.clone(), true, position);
            each(self, key);
            if self.cursor.kind_at(self.cursor.at) != Some(&Kind::Comma) {
                return;
            }
            self.cursor.at += 1;
        }
    }

    fn keep(&mut self, key: Key, is_written: bool, position: Position) {
        let (schema, table) = &key;
        let is_expression = (!is_written || self.dialect == Dialect::SqlServer) && self.stack.has_expression(table);
        let is_foreign = match schema {
            Some(schema) => FOREIGN_SCHEMAS.contains(&schema.as_str()),
            None => {
                FOREIGN_PREFIXES.iter().any(|prefix| table.starts_with(prefix))
                    || self.temporary.contains(table)
                    || table == DUAL
                    || (!is_written && table.starts_with(CATALOGUE_PREFIX))
                    || is_expression
            }
        };
        if is_foreign {
            return;
        }
        let named = Named { schema: schema.clone(), table: table.clone(), is_written, is_view: false, position };
        let life = self.lives.of(&self.identity(&key));
        let kept = self.found.entry((life, key)).or_insert_with(|| named.clone());
        if is_written && !kept.is_written {
            *kept = named;
        }
    }

    /// The one name of a table that may be written with the schema that is meant anyway, and without.
    fn identity(&self, (schema, table): &Key) -> Key {
        let default = match self.dialect {
            Dialect::Sqlite => Some("main"),
            Dialect::Postgres => Some("public"),
            Dialect::SqlServer => Some("dbo"),
            Dialect::Mysql | Dialect::Any => None,
        };
        (schema.clone().filter(|schema| Some(schema.as_str()) != default), table.clone())
    }
}

/// What statements name beside lists of tables.
impl Scan<'_> {
    fn create(&mut self, created: usize) {
        let is_view = match self.cursor.object() {
            Some("TABLE") => false,
            Some("VIEW") => true,
            Some("INDEX" | "TRIGGER" | "POLICY") => {
                self.awaits_on = true;
                return;
            }
            _ => return,
        };
        let is_temporary =
            (created..self.cursor.at).any(|at| matches!(self.cursor.word_at(at), Some("TEMP" | "TEMPORARY")));
        self.cursor.pass_all(&["IF", "NOT", "EXISTS"]);
        self.made(is_temporary, is_view);
        if self.cursor.pass("LIKE") {
            self.take(false);
        }
    }

    /// What is named next is made.
    fn made(&mut self, is_temporary: bool, is_view: bool) {
        let Some((key, position, next)) = self.cursor.name(self.cursor.at) else { return };
        self.cursor.at = next;
        if is_temporary {
            self.temporary.insert(key.1);
            return;
        }
        if !self.is_undo {
            self.lives.made(&self.identity(&key), is_view);
        }
        self.keep(key, true, position);
    }

    /// Whether `INTO` is followed by a table that a query makes; elsewhere it is variables, or a file.
    fn is_select_into(&mut self) -> bool {
        matches!(self.dialect, Dialect::Postgres | Dialect::SqlServer) && self.stack.top().verb == Verb::Select
    }

    /// `SELECT … INTO TEMP sums FROM orders`.
    fn select_into(&mut self) {
        let is_temporary = self.cursor.pass("TEMP") || self.cursor.pass("TEMPORARY");
        self.cursor.pass("UNLOGGED");
        self.cursor.pass("TABLE");
        self.made(is_temporary, false);
    }

    fn alter(&mut self) {
        if !matches!(self.cursor.object(), Some("TABLE" | "VIEW")) {
            return;
        }
        self.cursor.pass_all(&["IF", "EXISTS"]);
        self.cursor.pass("ONLY");
        let Some((key, position, next)) = self.cursor.name(self.cursor.at) else { return };
        self.cursor.at = next;
        self.keep(key.clone(), true, position);
        self.altered = Some((key, position));
    }

    /// What an `ALTER TABLE` names beside the table that it alters.
    fn altering(&mut self, word: &str) {
        match word {
            "RENAME" if self.cursor.pass("TO") || self.cursor.pass("AS") => {
                if let Some((old, _)) = self.altered.take() {
                    self.renamed(&old);
                }
            }
            "ATTACH" | "DETACH" if self.cursor.pass("PARTITION") => self.take(true),
            "INHERIT" => self.take(false),
            _ => {}
        }
    }

    /// `RENAME TABLE a TO b, c TO d`.
    fn rename_tables(&mut self) {
        self.cursor.pass("TABLE");
        self.take_all(|scan, old| {
            if scan.cursor.pass("TO") {
                scan.renamed(&old);
            }
        });
    }

    /// The name that follows is now that table's, in the same schema.
    fn renamed(&mut self, old: &Key) {
        let Some(((schema, table), position, next)) = self.cursor.name(self.cursor.at) else { return };
        self.cursor.at = next;
        if schema.is_none() && self.temporary.remove(&old.1) {
            self.temporary.insert(table);
            return;
        }
        self.is_now(old, (schema.or_else(|| old.0.clone()), table), position);
    }

    /// The schema that follows is now that of the table that is altered.
    fn moved(&mut self) {
        let Some(((schema, table), position)) = self.altered.take() else { return };
        let Some(new_schema) = self.cursor.simple(self.cursor.at) else { return };
        self.cursor.at += 1;
        self.is_now(&(schema, table.clone()), (Some(new_schema), table), position);
    }

    fn is_now(&mut self, old: &Key, new: Key, position: Position) {
        if !self.is_undo {
            self.lives.renamed(&self.identity(old), &self.identity(&new));
        }
        self.keep(new, true, position);
    }

    fn drop_object(&mut self) {
        match self.cursor.object() {
            Some(object @ ("TABLE" | "VIEW")) => {
                self.cursor.pass_all(&["IF", "EXISTS"]);
                self.take_all(|scan, key| scan.gone(&key, object == "VIEW"));
            }
            Some("INDEX" | "TRIGGER" | "POLICY") => self.awaits_on = true,
            _ => {}
        }
    }

    fn gone(&mut self, key: &Key, is_view: bool) {
        let is_unnamed = key.0.as_deref().is_none_or(|schema| FOREIGN_SCHEMAS.contains(&schema));
        let is_temporary = is_unnamed && self.temporary.remove(&key.1);
        if !is_temporary && !self.is_undo {
            self.lives.gone(&self.identity(key), is_view);
        }
    }

    fn truncate(&mut self) {
        self.cursor.pass("TABLE");
        self.take_all(|_, _| {});
    }

    fn insert(&mut self) {
        self.begin(Verb::None, None);
        while self.cursor.word_at(self.cursor.at).is_some_and(|word| INSERT_WORDS.contains(&word)) {
            self.cursor.at += 1;
        }
        // After `THEN` of a `MERGE` come the columns.
        if self.cursor.word_at(self.cursor.at) != Some("VALUES") {
            self.take(true);
        }
    }

    fn merge(&mut self) {
        self.begin(Verb::Merge, None);
        self.cursor.pass("INTO");
        self.take(true);
    }

    /// `COPY orders (id, total) FROM STDIN`.
    fn copy(&mut self) {
        let Some((key, position, next)) = self.cursor.name(self.cursor.at) else { return };
        self.cursor.at = next;
        let words = (next..).map_while(|at| self.cursor.kind_at(at).filter(|kind| **kind != Kind::Semicolon));
        let direction = words.into_iter().find_map(|kind| match kind {
            Kind::Word(word) if word == "FROM" || word == "TO" => Some(word.as_str()),
            _ => None,
        });
        let is_written = direction != Some("TO");
        self.keep(key, is_written, position);
    }

    fn with(&mut self) {
        let is_recursive = self.cursor.pass("RECURSIVE") || self.dialect == Dialect::Sqlite;
        self.stack.top().is_recursive = is_recursive;
        self.define(self.cursor.at);
    }

    /// `name (columns) AS MATERIALIZED (`: what is in there defines a common table expression.
    fn define(&mut self, from: usize) {
        let Some(name) = self.cursor.simple(from) else { return };
        let mut at = from + 1;
        if self.cursor.kind_at(at) == Some(&Kind::Open) {
            at += 1;
            while self.cursor.simple(at).is_some() && self.cursor.kind_at(at + 1) == Some(&Kind::Comma) {
                at += 2;
            }
            at += 2;
        }
        if self.cursor.word_at(at) != Some("AS") {
            return;
        }
        at += 1;
        while matches!(self.cursor.word_at(at), Some("NOT" | "MATERIALIZED")) {
            at += 1;
        }
        if self.cursor.kind_at(at) != Some(&Kind::Open) || self.stack.depth() == DEPTH_MAX {
            return;
        }
        self.cursor.at = at + 1;
        let top = self.stack.top();
        top.end_list();
        if top.is_recursive {
            top.expressions.insert(name.clone());
        }
        self.stack.open(Level { defines: Some(name), ..Level::default() });
    }

    fn skip_statement(&mut self) {
        while self.cursor.kind_at(self.cursor.at).is_some_and(|kind| *kind != Kind::Semicolon) {
            self.cursor.at += 1;
        }
    }
}
