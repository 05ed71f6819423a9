-- When a device was removed: its id is not given again for as long as its readings are known by it, so its row stays.
-- One that was removed before this was known goes as soon as the broker was told.

ALTER TABLE devices ADD COLUMN removed_ms BIGINT;

CREATE INDEX devices_removed ON devices (removed_ms) WHERE is_removed = 1;
