-- Which store this is. It goes with the file wherever that is copied; markers beside the file and in the folder of the lists repeat it.
CREATE TABLE identity (
    one   INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    id    TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;
INSERT INTO identity (one, id, since) VALUES (1, lower(hex(randomblob(12))), unixepoch());

-- Heads of the audit's chain, signed: those that were announced, and those that were found elsewhere and do not fit the chain. For the latter
-- `rows_then` says how many rows there were when that was noticed. `acknowledged` is the row of the audit in which an operator says why.
CREATE TABLE audit_head (
    sequence     INTEGER NOT NULL,
    signed       TEXT NOT NULL,
    rows_then    INTEGER,
    acknowledged INTEGER,
    PRIMARY KEY (sequence, signed)
) STRICT, WITHOUT ROWID;

-- What is written to find out whether writes work.
CREATE TABLE probe (
    one    INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    filler BLOB NOT NULL
) STRICT;
