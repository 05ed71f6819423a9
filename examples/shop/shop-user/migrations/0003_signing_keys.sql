-- What tokens are signed with: Ed25519 keys as PKCS #8. The replicas share them.
CREATE TABLE signing_keys (
    key_id        TEXT PRIMARY KEY,
    pkcs8         BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;
