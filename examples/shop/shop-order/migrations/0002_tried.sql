-- When an order that was cut short was last tried again: who waits longest comes first.
ALTER TABLE orders ADD COLUMN tried_at_ms INTEGER NOT NULL DEFAULT 0;

DROP INDEX orders_placed;

CREATE INDEX orders_placed ON orders (tried_at_ms, placed_at_ms) WHERE status = 'placed';
