-- Names at and below which nothing is validated, until when and why. `version` stays behind as a tombstone (until and reason NULL), as a
-- mandate's does, so that an old ETag never matches a new anchor of the same name. A row whose time is over is kept like a tombstone.
CREATE TABLE negative_trust_anchor (
    name       TEXT PRIMARY KEY NOT NULL,
    version    INTEGER NOT NULL,
    until      TEXT,
    reason     TEXT,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    updated_by TEXT NOT NULL
) STRICT;
