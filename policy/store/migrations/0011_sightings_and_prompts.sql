-- Devices that a household has not named, by the identifier that tells each from the others.
CREATE TABLE sighting (
    id         TEXT PRIMARY KEY NOT NULL,
    household  TEXT NOT NULL,
    identifier TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    dismissed  INTEGER NOT NULL,
    guess      TEXT
) STRICT;
CREATE UNIQUE INDEX sighting_by_household ON sighting (household, identifier);
CREATE INDEX sighting_by_time ON sighting (last_seen);

-- What things want to reach, and what the household answered. A device has at most one open prompt, which grows.
CREATE TABLE prompt (
    sequence   INTEGER PRIMARY KEY NOT NULL,
    id         TEXT NOT NULL UNIQUE,
    household  TEXT NOT NULL,
    device     TEXT NOT NULL,
    state      TEXT NOT NULL,
    at         INTEGER NOT NULL,
    document   TEXT NOT NULL
) STRICT;
CREATE INDEX prompt_by_household ON prompt (household, at);
CREATE INDEX prompt_by_time ON prompt (at);
CREATE UNIQUE INDEX prompt_open ON prompt (household, device) WHERE state = 'open';
