-- What customers are told, in the order in which it came.
CREATE TABLE notifications (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id  TEXT NOT NULL,
    text     TEXT NOT NULL,
    -- Where the message stands that it tells of: `order.paid/o-1`.
    about    TEXT NOT NULL,
    told_at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX notifications_of ON notifications (user_id, number);
