-- What was decided of each transfer, once.
CREATE TABLE assessments (
    transfer   TEXT PRIMARY KEY,
    payer      TEXT NOT NULL,
    payee      TEXT NOT NULL,
    amount     INTEGER NOT NULL CHECK (amount > 0),
    currency   TEXT NOT NULL,
    at_ms      INTEGER NOT NULL,
    decision   TEXT NOT NULL CHECK (decision IN ('allow', 'deny')),
    -- How likely a fraud it is; absent: no model was asked.
    score      REAL,
    decided_by TEXT NOT NULL,
    -- Joined by commas.
    reasons    TEXT NOT NULL
) STRICT;

CREATE INDEX assessments_by_age ON assessments (at_ms);

-- What accounts did lately, as far as a later transfer is judged by it.
CREATE TABLE transfers (
    transfer   TEXT PRIMARY KEY,
    payer      TEXT NOT NULL,
    payee      TEXT NOT NULL,
    amount     INTEGER NOT NULL CHECK (amount > 0),
    at_ms      INTEGER NOT NULL,
    -- 0: it was declined for another reason than its risk, so it tells of nobody's behaviour.
    is_counted INTEGER NOT NULL CHECK (is_counted IN (0, 1)),
    -- 1: it was reported as a fraud, or denied as one by the model.
    is_flagged INTEGER NOT NULL CHECK (is_flagged IN (0, 1))
) STRICT;

CREATE INDEX transfers_of_payer ON transfers (payer, at_ms);
CREATE INDEX transfers_of_payee ON transfers (payee, at_ms);
CREATE INDEX transfers_by_age ON transfers (at_ms);
