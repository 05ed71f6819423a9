-- A key names a request of one user: what another user calls his is none of his business. SQLite changes
-- what is unique in a table by making it anew.
CREATE TABLE orders_by_user (
    id              TEXT PRIMARY KEY,
    idempotency_key TEXT,
    user_id         TEXT NOT NULL,
    card            TEXT NOT NULL,
    items           TEXT NOT NULL,
    total           INTEGER NOT NULL CHECK (total > 0),
    status          TEXT NOT NULL CHECK (status IN ('placed', 'paid', 'declined')),
    placed_at_ms    INTEGER NOT NULL,
    tried_at_ms     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (user_id, idempotency_key)
) STRICT;

INSERT INTO orders_by_user (id, idempotency_key, user_id, card, items, total, status, placed_at_ms, tried_at_ms)
SELECT id, idempotency_key, user_id, card, items, total, status, placed_at_ms, tried_at_ms FROM orders;

DROP TABLE orders;

ALTER TABLE orders_by_user RENAME TO orders;

CREATE INDEX orders_placed ON orders (tried_at_ms, placed_at_ms) WHERE status = 'placed';
