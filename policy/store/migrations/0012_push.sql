-- Browsers that want notices, by the SHA-256 of their address at a push service. `session` is the beginning of the hash of the session that
-- asked for them; without that session nothing is sent.
CREATE TABLE push_subscription (
    sha256    BLOB PRIMARY KEY NOT NULL,
    household TEXT NOT NULL,
    device    TEXT,
    actor     TEXT NOT NULL,
    session   BLOB NOT NULL,
    endpoint  TEXT NOT NULL,
    public    BLOB NOT NULL,
    secret    BLOB NOT NULL,
    locale    TEXT NOT NULL,
    at        INTEGER NOT NULL
) STRICT;
CREATE INDEX push_by_household ON push_subscription (household, at);

-- The key by which push services know this node.
CREATE TABLE push_key (
    only_row INTEGER PRIMARY KEY NOT NULL CHECK (only_row = 1),
    pkcs8    BLOB NOT NULL
) STRICT;
