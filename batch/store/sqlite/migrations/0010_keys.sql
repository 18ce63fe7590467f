-- API keys, as their hashes.
CREATE TABLE api_keys (
	seq            INTEGER PRIMARY KEY AUTOINCREMENT,
	id             TEXT NOT NULL UNIQUE,
	name           TEXT NOT NULL,
	tenant         TEXT NOT NULL,
	hash           TEXT NOT NULL UNIQUE, -- SHA-256 of the key, hexadecimal
	scopes         TEXT NOT NULL, -- separated by spaces
	models         TEXT, -- JSON; NULL: every model
	created_at     INTEGER NOT NULL,
	created_by     TEXT NOT NULL, -- id of a key
	expires_at     INTEGER,
	revoked_at     INTEGER,
	previous_hash  TEXT NOT NULL DEFAULT '', -- before the last rotation
	previous_until INTEGER
) STRICT;

-- Changes with every change of a key.
CREATE TABLE api_keys_version (
	one     INTEGER PRIMARY KEY CHECK (one = 1),
	version INTEGER NOT NULL
) STRICT;
INSERT INTO api_keys_version VALUES (1, 0);

-- The key that made a batch, and the models that it may use.
ALTER TABLE batches ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
ALTER TABLE batches ADD COLUMN models TEXT;
