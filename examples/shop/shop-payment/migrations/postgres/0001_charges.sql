-- What the migrations for SQLite have made so far, as PostgreSQL reads it.

-- A charge is pending until the bank has decided; the order is its name, here and at the bank. One that is taken back is
-- refunding until the bank has. One that never came is kept without a card and an amount, so that it is not made later.
CREATE TABLE charges (
    order_id TEXT PRIMARY KEY,
    card     TEXT NOT NULL,
    amount   BIGINT NOT NULL CHECK (amount > 0 OR (amount = 0 AND status IN ('refunding', 'refunded'))),
    status   TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'declined', 'refunding', 'refunded'))
);
