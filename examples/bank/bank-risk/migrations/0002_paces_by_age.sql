-- Who has not paid for long is forgotten.
CREATE INDEX paces_by_age ON paces (at_ms);
