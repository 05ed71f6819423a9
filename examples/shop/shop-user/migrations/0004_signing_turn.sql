-- Whoever decides whether there is to be a new key locks the row for as long, so that of replicas one makes it. SQLite
-- has one writer at a time; the statement is the same for every database.
CREATE TABLE signing_turn (
    number INTEGER PRIMARY KEY
) STRICT;

INSERT INTO signing_turn (number) VALUES (1);
