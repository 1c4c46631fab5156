-- What a notice says, as a hash: one that waits takes up others that say the same.
ALTER TABLE notice ADD COLUMN content TEXT NOT NULL DEFAULT '';
CREATE INDEX notice_by_household ON notice (household);
