-- What the migrations for SQLite have made so far, as PostgreSQL reads it.

-- An order is placed until payment has answered. The idempotency key names the request of one user that made it.
CREATE TABLE orders (
    id              TEXT PRIMARY KEY,
    idempotency_key TEXT,
    user_id         TEXT NOT NULL,
    card            TEXT NOT NULL,
    items           TEXT NOT NULL,
    total           BIGINT NOT NULL CHECK (total > 0),
    status          TEXT NOT NULL CHECK (status IN ('placed', 'paid', 'declined', 'cancelled')),
    placed_at_ms    BIGINT NOT NULL,
    UNIQUE (user_id, idempotency_key)
);

CREATE INDEX orders_placed ON orders (placed_at_ms) WHERE status = 'placed';

CREATE TABLE stock (
    sku       TEXT PRIMARY KEY,
    available BIGINT NOT NULL CHECK (available >= 0)
);

INSERT INTO stock (sku, available) VALUES ('book', 10000000), ('poster', 3);
