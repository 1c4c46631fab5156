-- Feeds defined over REST; those of the configuration are not here. `version` stays behind as a tombstone (document NULL), as
-- a household's does, so that an old ETag never matches a new feed of the same name.
CREATE TABLE feed (
    name       TEXT PRIMARY KEY NOT NULL,
    version    INTEGER NOT NULL,
    document   TEXT,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    updated_by TEXT NOT NULL
) STRICT;

-- Who did what, when. Each row holds the hash of the one before, so that none can be changed, taken out or put in between
-- without all that follow no longer fitting.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY NOT NULL,
    at       TEXT NOT NULL,
    actor    TEXT NOT NULL,
    role     TEXT NOT NULL,
    action   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    before   TEXT,
    after    TEXT,
    previous BLOB NOT NULL,
    hash     BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_subject ON audit (subject, sequence);

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only: no row is changed');
END;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only: no row is deleted');
END;
-- Also what keeps REPLACE out, which deletes without asking the trigger above.
CREATE TRIGGER audit_only_grows BEFORE INSERT ON audit
WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only: a row comes after the last one');
END;
