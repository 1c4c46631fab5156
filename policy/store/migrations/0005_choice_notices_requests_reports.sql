-- What reports count, beside the documents: nobody parses a million of them for a figure.
ALTER TABLE household ADD COLUMN filtering TEXT;
ALTER TABLE household ADD COLUMN preset TEXT;
ALTER TABLE household ADD COLUMN chosen_by TEXT;
ALTER TABLE household ADD COLUMN chosen_on TEXT;
UPDATE household SET filtering = document ->> '$.filtering', preset = document ->> '$.preset' WHERE document IS NOT NULL;
CREATE INDEX household_by_choice ON household (filtering, preset, chosen_by, chosen_on) WHERE filtering IS NOT NULL;

-- What the holder of an account must learn of, written in the transaction that does it.
CREATE TABLE notice (
    sequence  INTEGER PRIMARY KEY NOT NULL,
    id        TEXT NOT NULL UNIQUE,
    household TEXT NOT NULL,
    at        INTEGER NOT NULL,
    document  TEXT NOT NULL
) STRICT;
CREATE INDEX notice_by_time ON notice (at);

-- Where it goes. `due` is the second of the next attempt.
CREATE TABLE delivery (
    notice    INTEGER NOT NULL REFERENCES notice (sequence) ON DELETE CASCADE,
    channel   TEXT NOT NULL,
    recipient TEXT,
    state     TEXT NOT NULL,
    attempts  INTEGER NOT NULL,
    due       INTEGER NOT NULL,
    error     TEXT,
    PRIMARY KEY (notice, channel)
) STRICT;
CREATE INDEX delivery_by_due ON delivery (state, due);

-- What a child asks for, and what it was answered.
CREATE TABLE request (
    sequence   INTEGER PRIMARY KEY NOT NULL,
    id         TEXT NOT NULL UNIQUE,
    household  TEXT NOT NULL,
    device     TEXT NOT NULL,
    state      TEXT NOT NULL,
    at         INTEGER NOT NULL,
    document   TEXT NOT NULL
) STRICT;
CREATE INDEX request_by_household ON request (household, at);
CREATE INDEX request_by_time ON request (at);

-- What the public says is blocked by mistake. A name with an override is never blocked until then.
CREATE TABLE report (
    sequence       INTEGER PRIMARY KEY NOT NULL,
    id             TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    reason         TEXT NOT NULL,
    contact        TEXT,
    at             INTEGER NOT NULL,
    due            INTEGER NOT NULL,
    outcome        TEXT,
    note           TEXT,
    closed_at      INTEGER,
    closed_by      TEXT,
    override_until INTEGER
) STRICT;
CREATE INDEX report_by_outcome ON report (outcome, sequence);
CREATE INDEX report_by_time ON report (at);
CREATE INDEX report_by_override ON report (override_until) WHERE override_until IS NOT NULL;
