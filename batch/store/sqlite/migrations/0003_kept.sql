-- A gateway that leaves gives slices back but for the lines that it has begun.
ALTER TABLE slices ADD COLUMN kept INTEGER NOT NULL DEFAULT 0; -- bit i: line i is a former claim's
ALTER TABLE slices ADD COLUMN kept_attempt INTEGER NOT NULL DEFAULT 0; -- of that claim
ALTER TABLE slices ADD COLUMN kept_until INTEGER NOT NULL DEFAULT 0; -- its lease
