-- Up to which row the audit was exported to a file and removed here. `signed` is the head of that row: the chain of the rows that are left
-- begins at its hash. `at` is when the row was written; nothing before that time can be read from the audit any more.
CREATE TABLE audit_cut (
    sequence INTEGER PRIMARY KEY NOT NULL,
    hash     BLOB NOT NULL,
    signed   TEXT NOT NULL,
    at       TEXT NOT NULL,
    archive  TEXT NOT NULL
) STRICT;

-- Only rows that are in an archive can be deleted, and never the last row.
DROP TRIGGER audit_is_never_deleted;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
WHEN OLD.sequence > (SELECT coalesce(max(sequence), 0) FROM audit_cut)
    OR OLD.sequence = (SELECT max(sequence) FROM audit)
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only: no row is deleted');
END;

-- Stored answers are bounded by household: a household makes keys by itself.
ALTER TABLE idempotency ADD COLUMN household TEXT NOT NULL DEFAULT '';
CREATE INDEX idempotency_by_household ON idempotency (household, at, length(body)) WHERE household <> '';
