-- The broker that was told last, by its kind: another does not know what that one does.

CREATE TABLE brokers (
    id   BIGINT PRIMARY KEY CHECK (id = 1),
    kind TEXT NOT NULL
);
