CREATE TABLE users (
    id   TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    card TEXT NOT NULL
) STRICT;

INSERT INTO users (id, name, card) VALUES
    ('u-1', 'Ada Lovelace', 'card-4242'),
    ('u-2', 'Bob Babbage', 'card-0002');
