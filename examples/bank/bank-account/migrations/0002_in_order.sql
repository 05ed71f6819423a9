-- An account's entries are in the order of their times: the next one is not posted before the last, whatever a clock says.
ALTER TABLE accounts ADD COLUMN last_posted_ms BIGINT NOT NULL DEFAULT 0;

UPDATE accounts SET last_posted_ms = COALESCE(
    (SELECT MAX(posted_ms) FROM legs JOIN ledger_transactions ON ledger_transactions.id = legs.transaction_id
     WHERE legs.account = accounts.id), 0);

-- How many accounts somebody has is bounded.
CREATE INDEX accounts_of_owner ON accounts (owner);
