-- What homes asked for, as counts: one row for each household and hour.
CREATE TABLE activity (
    household TEXT NOT NULL,
    -- Whole hours since 1970, in UTC.
    hour INTEGER NOT NULL,
    -- The hour at whose beginning the row is due to go, counted alike.
    until INTEGER NOT NULL,
    -- By device, JSON, behind a margin of spaces that keeps it out of the pages of the tree.
    document TEXT NOT NULL,
    PRIMARY KEY (household, hour)
) STRICT, WITHOUT ROWID;

CREATE INDEX activity_until ON activity (until);
