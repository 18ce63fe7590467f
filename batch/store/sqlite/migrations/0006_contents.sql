-- Which contents belong with this database, and contents that no row names.
CREATE TABLE installation (
	one   INTEGER PRIMARY KEY CHECK (one = 1),
	place TEXT NOT NULL
) STRICT;

CREATE TABLE unknown_contents (
	key     TEXT PRIMARY KEY,
	seen_at INTEGER NOT NULL, -- first
	last_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX unknown_contents_last ON unknown_contents (last_at);
