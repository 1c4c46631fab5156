-- Sessions of the app in browsers, by the SHA-256 of what the cookie holds: 256 random bits need no slow hash. `key` is the key that the
-- session acts for, and ends with it. A session that began with a token of the provider has no key.
CREATE TABLE session (
    sha256    BLOB PRIMARY KEY NOT NULL,
    key       TEXT,
    actor     TEXT NOT NULL,
    role      TEXT NOT NULL,
    household TEXT NOT NULL,
    device    TEXT,
    begun_at  INTEGER NOT NULL,
    seen_at   INTEGER NOT NULL,
    ends_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX session_by_household ON session (household, begun_at);
CREATE INDEX session_by_key ON session (key) WHERE key IS NOT NULL;
CREATE INDEX session_by_end ON session (ends_at);
CREATE INDEX session_by_use ON session (seen_at);

-- Links that open the app once. A used one keeps the key that it made, and is kept for a while, so that its second use is told apart from
-- one that never was.
CREATE TABLE link (
    id         TEXT PRIMARY KEY NOT NULL,
    sha256     BLOB NOT NULL UNIQUE,
    household  TEXT NOT NULL,
    role       TEXT NOT NULL,
    device     TEXT,
    label      TEXT NOT NULL,
    made_by    TEXT NOT NULL,
    maker_role TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    key        TEXT
) STRICT;
CREATE INDEX link_by_household ON link (household, expires_at);
CREATE INDEX link_by_end ON link (expires_at);
CREATE INDEX link_by_key ON link (key) WHERE key IS NOT NULL;
