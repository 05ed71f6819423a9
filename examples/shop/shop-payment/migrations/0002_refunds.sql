-- A charge can be taken back: it is refunding until the bank has. One that never came is kept without a card and an
-- amount, so that it is not made later. SQLite changes what a column allows by making the table anew.
CREATE TABLE charges_with_refunds (
    order_id TEXT PRIMARY KEY,
    card     TEXT NOT NULL,
    amount   INTEGER NOT NULL CHECK (amount > 0 OR (amount = 0 AND status IN ('refunding', 'refunded'))),
    status   TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'declined', 'refunding', 'refunded'))
) STRICT;

INSERT INTO charges_with_refunds (order_id, card, amount, status) SELECT order_id, card, amount, status FROM charges;

DROP TABLE charges;

ALTER TABLE charges_with_refunds RENAME TO charges;
