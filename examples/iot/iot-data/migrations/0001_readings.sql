-- What devices read. Written as SQLite and PostgreSQL both read it; times are milliseconds since 1970.

-- Each reading once, by its device and the device's own number of it; `number` says in which order they came.
CREATE TABLE readings (
    device   TEXT NOT NULL,
    sequence BIGINT NOT NULL CHECK (sequence >= 0),
    at_ms    BIGINT NOT NULL,
    value    DOUBLE PRECISION NOT NULL,
    number   BIGINT NOT NULL UNIQUE,
    PRIMARY KEY (device, sequence)
);

CREATE INDEX readings_of_device ON readings (device, at_ms);
CREATE INDEX readings_by_time ON readings (at_ms);

-- What of them is kept for longer: of each minute and each hour how many there were, and how high.
CREATE TABLE rollups (
    device  TEXT NOT NULL,
    step_ms BIGINT NOT NULL CHECK (step_ms IN (60000, 3600000)),
    from_ms BIGINT NOT NULL,
    count   BIGINT NOT NULL CHECK (count > 0),
    total   DOUBLE PRECISION NOT NULL,
    lowest  DOUBLE PRECISION NOT NULL,
    highest DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (device, step_ms, from_ms)
);

CREATE INDEX rollups_by_time ON rollups (step_ms, from_ms);

-- The number of the last reading that came, and of the last that analytics was told.
CREATE TABLE marks (
    name   TEXT PRIMARY KEY,
    number BIGINT NOT NULL
);

INSERT INTO marks (name, number) VALUES ('stored', 0), ('told', 0);
