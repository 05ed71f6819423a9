-- What is known of devices, and what was wrong with them. Written as SQLite and PostgreSQL both read it; times are
-- milliseconds since 1970.

-- How a device's readings are judged, and its state when it was last written down; none: it is new.
CREATE TABLE devices (
    device      TEXT PRIMARY KEY,
    season      TEXT NOT NULL,
    lateness_ms BIGINT NOT NULL,
    state       TEXT
);

-- What came since then, in the order in which it came: readings; and, without a sequence, the times that devices were
-- told while they were silent.
CREATE TABLE journal (
    number   BIGINT PRIMARY KEY,
    device   TEXT NOT NULL,
    sequence BIGINT,
    at_ms    BIGINT NOT NULL,
    value    DOUBLE PRECISION
);

CREATE INDEX journal_of_device ON journal (device, at_ms);

CREATE TABLE anomalies (
    id        BIGINT PRIMARY KEY,
    device    TEXT NOT NULL,
    kind      TEXT NOT NULL,
    began_ms  BIGINT NOT NULL,
    ended_ms  BIGINT,
    value     DOUBLE PRECISION,
    expected  DOUBLE PRECISION,
    score     DOUBLE PRECISION NOT NULL,
    severity  TEXT NOT NULL,
    -- The model's version, or `fallback`.
    scored_by TEXT NOT NULL
);

CREATE INDEX anomalies_of_device ON anomalies (device, id);
CREATE INDEX anomalies_by_end ON anomalies (ended_ms);

-- The last number that was given to a row of the journal or to an anomaly. Whoever writes moves it on from where it was
-- read: so of two who hold the devices in memory only one goes on.
CREATE TABLE marks (
    number BIGINT NOT NULL
);

INSERT INTO marks (number) VALUES (0);
