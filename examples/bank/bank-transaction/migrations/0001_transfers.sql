-- Every statement here is one of SQLite and of PostgreSQL.

-- A transfer is pending until it ends: once, in one state. The key names the request of whoever asked for it.
CREATE TABLE transfers (
    id              TEXT PRIMARY KEY,
    asked_by        TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    from_account    TEXT NOT NULL,
    to_account      TEXT NOT NULL,
    amount          BIGINT NOT NULL CHECK (amount > 0),
    currency        TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('pending', 'settled', 'declined', 'failed')),
    reason          TEXT,
    -- What risk said of it, as JSON.
    risk            TEXT,
    asked_at_ms     BIGINT NOT NULL,
    -- When account posted it, as account says.
    posted_at_ms    BIGINT,
    UNIQUE (asked_by, idempotency_key)
);

CREATE INDEX transfers_in_state ON transfers (state, asked_at_ms);

-- What went, or is to go, out of an account on a day: the days since 1970, of UTC.
CREATE TABLE spent (
    account TEXT NOT NULL,
    day     BIGINT NOT NULL,
    amount  BIGINT NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (account, day)
);
