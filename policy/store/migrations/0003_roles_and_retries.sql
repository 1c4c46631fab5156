-- A key of a family belongs to one household, a child's to one device as well. Those of operators and auditors belong to none.
ALTER TABLE api_key ADD COLUMN household TEXT;
ALTER TABLE api_key ADD COLUMN device TEXT;
CREATE INDEX api_key_by_household ON api_key (household) WHERE household IS NOT NULL;

-- What a write with an Idempotency-Key was answered, so that its repetition is answered the same and does nothing. While `status` is
-- NULL it is under way in the process `maker`; of a process that is gone nobody knows how far it came.
CREATE TABLE idempotency (
    principal TEXT NOT NULL,
    key       TEXT NOT NULL,
    target    BLOB NOT NULL,
    request   BLOB NOT NULL,
    maker     TEXT NOT NULL,
    at        INTEGER NOT NULL,
    status    INTEGER,
    headers   TEXT,
    body      BLOB,
    secret_of TEXT,
    PRIMARY KEY (principal, key)
) STRICT;
CREATE INDEX idempotency_by_time ON idempotency (at);
CREATE INDEX idempotency_by_principal ON idempotency (principal, at, length(body));
