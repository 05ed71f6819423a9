-- What was decided of transfers, and what accounts did. Written as SQLite and PostgreSQL both read it: texts, and whole
-- numbers of minor units and of milliseconds since 1970.

-- What was decided of each transfer, once.
CREATE TABLE assessments (
    transfer   TEXT PRIMARY KEY,
    payer      TEXT NOT NULL,
    payee      TEXT NOT NULL,
    amount     BIGINT NOT NULL CHECK (amount > 0),
    currency   TEXT NOT NULL,
    at_ms      BIGINT NOT NULL,
    decision   TEXT NOT NULL CHECK (decision IN ('allow', 'deny')),
    -- How likely a fraud it is; absent: no model was asked.
    score      DOUBLE PRECISION,
    decided_by TEXT NOT NULL,
    -- Joined by commas.
    reasons    TEXT NOT NULL
);

CREATE INDEX assessments_by_age ON assessments (at_ms);

-- What accounts did lately, as far as a later transfer is judged by it.
CREATE TABLE transfers (
    transfer   TEXT PRIMARY KEY,
    payer      TEXT NOT NULL,
    payee      TEXT NOT NULL,
    amount     BIGINT NOT NULL CHECK (amount > 0),
    at_ms      BIGINT NOT NULL,
    -- 0: it was declined for another reason than its risk, so it tells of nobody's behaviour.
    is_counted BIGINT NOT NULL CHECK (is_counted IN (0, 1)),
    -- 1: it was reported as a fraud.
    is_flagged BIGINT NOT NULL CHECK (is_flagged IN (0, 1))
);

-- Who paid while there was no score, and when last. Its row is locked while the payer's transfers are counted, so that
-- those asked about at once are counted one after the other.
CREATE TABLE paces (
    payer TEXT PRIMARY KEY,
    at_ms BIGINT NOT NULL
);

CREATE INDEX transfers_of_payer ON transfers (payer, at_ms);
CREATE INDEX transfers_of_payee ON transfers (payee, at_ms);
CREATE INDEX transfers_by_age ON transfers (at_ms);
