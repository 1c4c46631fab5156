-- What is to be forgotten of what homes asked for, or kept for another time: written in the transaction that says so, and gone once it is done.
CREATE TABLE duty (
    sequence  INTEGER PRIMARY KEY NOT NULL,
    household TEXT NOT NULL,
    what      TEXT NOT NULL
) STRICT;
CREATE INDEX duty_by_household ON duty (household, sequence);
