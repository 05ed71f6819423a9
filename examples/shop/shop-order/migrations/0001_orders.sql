-- An order is placed until payment has answered. The idempotency key names the request that made it.
CREATE TABLE orders (
    id              TEXT PRIMARY KEY,
    idempotency_key TEXT UNIQUE,
    user_id         TEXT NOT NULL,
    card            TEXT NOT NULL,
    items           TEXT NOT NULL,
    total           INTEGER NOT NULL CHECK (total > 0),
    status          TEXT NOT NULL CHECK (status IN ('placed', 'paid', 'declined')),
    placed_at_ms    INTEGER NOT NULL
) STRICT;

CREATE INDEX orders_placed ON orders (placed_at_ms) WHERE status = 'placed';
