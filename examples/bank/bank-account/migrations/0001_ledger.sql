-- The bank's books. Written as SQLite and PostgreSQL both read it: texts, and whole numbers of minor units and of
-- milliseconds since 1970.

-- Whose money there is. The bank's own cash has no owner, may fall below nothing, and is the other side of deposits.
-- `balance` is the sum of the account's legs, `held` that of its holds; both are kept by who changes these.
CREATE TABLE accounts (
    id           TEXT PRIMARY KEY,
    owner        TEXT,
    currency     TEXT NOT NULL CHECK (currency IN ('EUR', 'USD', 'GBP')),
    credit_limit BIGINT NOT NULL CHECK (credit_limit >= 0),
    balance      BIGINT NOT NULL DEFAULT 0,
    held         BIGINT NOT NULL DEFAULT 0 CHECK (held >= 0),
    entries      BIGINT NOT NULL DEFAULT 0,
    opened_ms    BIGINT NOT NULL,
    opened_by    TEXT NOT NULL,
    opening_key  TEXT,
    UNIQUE (opened_by, opening_key),
    CHECK (owner IS NULL OR balance - held + credit_limit >= 0)
);

INSERT INTO accounts (id, owner, currency, credit_limit, opened_ms, opened_by) VALUES
    ('cash-EUR', NULL, 'EUR', 0, 0, ''),
    ('cash-USD', NULL, 'USD', 0, 0, ''),
    ('cash-GBP', NULL, 'GBP', 0, 0, '');

-- What was posted, each by a name of its own: a second posting of that name is none.
CREATE TABLE ledger_transactions (
    id        TEXT PRIMARY KEY,
    kind      TEXT NOT NULL CHECK (kind IN ('deposit', 'transfer')),
    reference TEXT NOT NULL,
    posted_ms BIGINT NOT NULL,
    UNIQUE (kind, reference)
);

-- What a transaction did to each account: the account's entries are numbered, and say its balance behind them.
CREATE TABLE legs (
    account        TEXT NOT NULL REFERENCES accounts (id),
    entry          BIGINT NOT NULL,
    transaction_id TEXT NOT NULL REFERENCES ledger_transactions (id),
    amount         BIGINT NOT NULL CHECK (amount <> 0),
    currency       TEXT NOT NULL,
    balance        BIGINT NOT NULL,
    PRIMARY KEY (account, entry)
);

CREATE INDEX legs_of_transaction ON legs (transaction_id);

-- What is set aside for a transfer. One that was released before it came has no terms, so that it sets nothing aside
-- when it comes.
CREATE TABLE holds (
    transfer     TEXT PRIMARY KEY,
    from_account TEXT REFERENCES accounts (id),
    to_account   TEXT REFERENCES accounts (id),
    amount       BIGINT CHECK (amount > 0),
    currency     TEXT,
    state        TEXT NOT NULL CHECK (state IN ('held', 'captured', 'released')),
    held_ms      BIGINT NOT NULL,
    ended_ms     BIGINT,
    CHECK (state = 'released' OR (from_account IS NOT NULL AND to_account IS NOT NULL AND amount IS NOT NULL)),
    CHECK ((state = 'held') = (ended_ms IS NULL))
);

CREATE INDEX holds_open ON holds (from_account) WHERE state = 'held';
