-- An order takes from the stock before it is charged; one that cannot be is cancelled. SQLite changes what a column
-- allows by making the table anew.
CREATE TABLE orders_with_stock (
    id              TEXT PRIMARY KEY,
    idempotency_key TEXT,
    user_id         TEXT NOT NULL,
    card            TEXT NOT NULL,
    items           TEXT NOT NULL,
    total           INTEGER NOT NULL CHECK (total > 0),
    status          TEXT NOT NULL CHECK (status IN ('placed', 'paid', 'declined', 'cancelled')),
    placed_at_ms    INTEGER NOT NULL,
    UNIQUE (user_id, idempotency_key)
) STRICT;

INSERT INTO orders_with_stock (id, idempotency_key, user_id, card, items, total, status, placed_at_ms)
SELECT id, idempotency_key, user_id, card, items, total, status, placed_at_ms FROM orders;

DROP TABLE orders;

ALTER TABLE orders_with_stock RENAME TO orders;

CREATE INDEX orders_placed ON orders (placed_at_ms) WHERE status = 'placed';

CREATE TABLE stock (
    sku       TEXT PRIMARY KEY,
    available INTEGER NOT NULL CHECK (available >= 0)
) STRICT;

INSERT INTO stock (sku, available) VALUES ('book', 10000000), ('poster', 3);
