-- A transfer that is taken back moves nothing, also one that is not there yet: who takes it back does not know
-- whether it ever arrived.
CREATE TABLE reversals (
    reference TEXT PRIMARY KEY
) STRICT;
