-- What the migrations for SQLite have made so far, as PostgreSQL reads it.

-- What customers are told, in the order in which it came.
CREATE TABLE notifications (
    number     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    TEXT NOT NULL,
    text       TEXT NOT NULL,
    -- Where the message stands that it tells of: `order.paid/o-1`.
    about      TEXT NOT NULL,
    told_at_ms BIGINT NOT NULL
);

CREATE INDEX notifications_of ON notifications (user_id, number);
