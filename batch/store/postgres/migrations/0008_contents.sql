-- Which contents belong with this database, and contents that no row names.
CREATE TABLE installation (
	one   smallint PRIMARY KEY CHECK (one = 1),
	place text NOT NULL
);

CREATE TABLE unknown_contents (
	key     text PRIMARY KEY,
	seen_at bigint NOT NULL, -- first
	last_at bigint NOT NULL
);
CREATE INDEX unknown_contents_last ON unknown_contents (last_at);
