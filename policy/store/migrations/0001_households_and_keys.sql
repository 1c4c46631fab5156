-- A household is one document: it is read, changed and compiled as a whole. `version` stands beside it for conditional
-- writes, and stays behind as a tombstone (document NULL) so that an old ETag never matches a new household.
CREATE TABLE household (
    id           TEXT PRIMARY KEY NOT NULL,
    version      INTEGER NOT NULL,
    external_ref TEXT,
    document     TEXT
) STRICT;
CREATE INDEX household_by_external_ref ON household (external_ref) WHERE external_ref IS NOT NULL;

-- Which household a network belongs to. The primary key is what refuses an overlap of equal length.
CREATE TABLE network (
    cidr      TEXT PRIMARY KEY NOT NULL,
    household TEXT NOT NULL REFERENCES household (id)
) STRICT;
CREATE INDEX network_by_household ON network (household);

-- Keys are stored as SHA-256: 256 random bits need no slow hash.
CREATE TABLE api_key (
    id         TEXT PRIMARY KEY NOT NULL,
    sha256     BLOB NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    label      TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revoked_at TEXT
) STRICT;
