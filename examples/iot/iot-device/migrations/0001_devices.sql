-- Devices, what they are told, and how far that is published. Written as SQLite and PostgreSQL both read it: texts, and
-- whole numbers, of milliseconds since 1970 where they are times. What is to be published has a version, and what has
-- been the version that was: where it is smaller, there is something to publish.

CREATE TABLE devices (
    id                TEXT PRIMARY KEY,
    name              TEXT,
    created_ms        BIGINT NOT NULL,
    -- Its account with the broker. The token itself is here only until a broker that has to be given it has it.
    token_hash        TEXT NOT NULL,
    token             TEXT,
    account_version   BIGINT NOT NULL DEFAULT 1,
    account_published BIGINT NOT NULL DEFAULT 0,
    -- It is gone, and its row is once the broker was told.
    is_removed        BIGINT NOT NULL DEFAULT 0 CHECK (is_removed IN (0, 1)),
    is_connected      BIGINT NOT NULL DEFAULT 0 CHECK (is_connected IN (0, 1)),
    since_ms          BIGINT,
    last_reading_ms   BIGINT,
    desired           TEXT NOT NULL DEFAULT '{}',
    desired_version   BIGINT NOT NULL DEFAULT 0,
    desired_published BIGINT NOT NULL DEFAULT 0,
    reported          TEXT NOT NULL DEFAULT '{}',
    reported_version  BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX devices_account_due ON devices (id) WHERE account_published < account_version;

CREATE INDEX devices_desired_due ON devices (id) WHERE desired_published < desired_version;

-- Each is published once for every time that it was asked for: when it was made, and when its device came back.
CREATE TABLE commands (
    id         TEXT PRIMARY KEY,
    device     TEXT NOT NULL REFERENCES devices (id),
    name       TEXT NOT NULL,
    arguments  TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'done', 'failed', 'expired')),
    detail     TEXT,
    asked      BIGINT NOT NULL DEFAULT 1,
    published  BIGINT NOT NULL DEFAULT 0,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    ended_ms   BIGINT,
    CHECK ((ended_ms IS NULL) = (state IN ('waiting', 'sent')))
);

CREATE INDEX commands_of_device ON commands (device, created_ms);

CREATE INDEX commands_open ON commands (expires_ms) WHERE ended_ms IS NULL;

CREATE INDEX commands_ended ON commands (ended_ms) WHERE ended_ms IS NOT NULL;
