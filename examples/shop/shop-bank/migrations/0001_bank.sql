CREATE TABLE cards (
    card      TEXT PRIMARY KEY,
    is_active INTEGER NOT NULL
) STRICT;

INSERT INTO cards (card, is_active) VALUES ('card-4242', 1), ('card-0002', 0);

-- Every decision is kept, under the reference its asker gave it, so that asking again changes nothing.
CREATE TABLE transfers (
    reference TEXT PRIMARY KEY,
    card      TEXT NOT NULL,
    amount    INTEGER NOT NULL CHECK (amount > 0),
    is_settled INTEGER NOT NULL
) STRICT;
