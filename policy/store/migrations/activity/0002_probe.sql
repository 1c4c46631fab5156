-- What is written to find out whether writes work.
CREATE TABLE probe (
    one    INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    filler BLOB NOT NULL
) STRICT;
