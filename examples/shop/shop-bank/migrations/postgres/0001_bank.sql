-- What the migrations for SQLite have made so far, as PostgreSQL reads it.
CREATE TABLE cards (
    card      TEXT PRIMARY KEY,
    is_active BIGINT NOT NULL
);

INSERT INTO cards (card, is_active) VALUES ('card-4242', 1), ('card-0002', 0);

-- Every decision is kept, under the reference its asker gave it, so that asking again changes nothing.
CREATE TABLE transfers (
    reference  TEXT PRIMARY KEY,
    card       TEXT NOT NULL,
    amount     BIGINT NOT NULL CHECK (amount > 0),
    is_settled BIGINT NOT NULL
);

-- A transfer that is taken back moves nothing, also one that is not there yet: who takes it back does not know
-- whether it ever arrived.
CREATE TABLE reversals (
    reference TEXT PRIMARY KEY
);
