-- What the migrations for SQLite have made so far, as PostgreSQL reads it.
CREATE TABLE users (
    id   TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    card TEXT NOT NULL
);

-- What users sign in with: the email address in lower case, since it is the same in any; Argon2id, 19 MiB, 2 rounds,
-- 1 lane.
CREATE TABLE credentials (
    email         TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL UNIQUE REFERENCES users (id),
    password_hash TEXT NOT NULL
);

-- What tokens are signed with: Ed25519 keys as PKCS #8. The replicas share them.
CREATE TABLE signing_keys (
    key_id        TEXT PRIMARY KEY,
    pkcs8         BYTEA NOT NULL,
    created_at_ms BIGINT NOT NULL
);

-- Whoever decides whether there is to be a new key locks the row for as long, so that of replicas one makes it.
CREATE TABLE signing_turn (
    number BIGINT PRIMARY KEY
);

INSERT INTO signing_turn (number) VALUES (1);

INSERT INTO users (id, name, card) VALUES
    ('u-1', 'Ada Lovelace', 'card-4242'),
    ('u-2', 'Bob Babbage', 'card-0002');

-- Their password is in the README.
INSERT INTO credentials (email, user_id, password_hash) VALUES
    ('ada@example.com', 'u-1', '$argon2id$v=19$m=19456,t=2,p=1$Jh9RDuBP0+5ySa7KMcEpJA$QCvFrKKqMkqmeOkOhttdfnntiJnlotoyNn72xDnpLHY'),
    ('bob@example.com', 'u-2', '$argon2id$v=19$m=19456,t=2,p=1$ng4ELfBzvqU8azT4jcNq8A$muSBr7DewzXl2WNLF2rkrjYil7l25saE53HLJ+61Sb0');

-- Users of the load program, enough that what is limited by user does not limit it. What is everybody's password needs
-- no salt for each.
INSERT INTO users (id, name, card) SELECT 'u-load-' || n, 'Load ' || n, 'card-4242' FROM generate_series(0, 63) AS n;

INSERT INTO credentials (email, user_id, password_hash)
SELECT 'load-' || n || '@example.com', 'u-load-' || n,
       '$argon2id$v=19$m=19456,t=2,p=1$Dp6B8ijjn6umM6Qofrmk5A$xcGvfrPk9ia31ZAgJFXHn32F3rSfE9q9CQvARlnEp3k'
FROM generate_series(0, 63) AS n;
