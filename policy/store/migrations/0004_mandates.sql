-- What is ordered by name or by address. `version` stays behind as a tombstone (document NULL), as a household's does, so that an old
-- ETag never matches a new mandate of the same identifier.
CREATE TABLE mandate (
    id         TEXT PRIMARY KEY NOT NULL,
    version    INTEGER NOT NULL,
    document   TEXT,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    updated_by TEXT NOT NULL
) STRICT;
