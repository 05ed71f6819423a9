-- A charge is pending until the bank has decided; the order is its name, here and at the bank.
CREATE TABLE charges (
    order_id TEXT PRIMARY KEY,
    card     TEXT NOT NULL,
    amount   INTEGER NOT NULL CHECK (amount > 0),
    status   TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'declined'))
) STRICT;
