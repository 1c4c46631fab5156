-- What tells the sessions of a household apart for those who may end them: an identifier, as keys and links have one, and the browser and
-- the system that the browser has told, in words of the program.
ALTER TABLE session ADD COLUMN id TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN browser TEXT;
ALTER TABLE session ADD COLUMN system TEXT;
UPDATE session SET id = lower(hex(randomblob(6)));
