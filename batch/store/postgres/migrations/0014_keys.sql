-- API keys, as their hashes.
CREATE TABLE api_keys (
	seq            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id             text NOT NULL UNIQUE,
	name           text NOT NULL,
	tenant         text NOT NULL,
	hash           text NOT NULL UNIQUE, -- SHA-256 of the key, hexadecimal
	scopes         text NOT NULL, -- separated by spaces
	models         text, -- JSON; NULL: every model
	created_at     bigint NOT NULL,
	created_by     text NOT NULL, -- id of a key
	expires_at     bigint,
	revoked_at     bigint,
	previous_hash  text NOT NULL DEFAULT '', -- before the last rotation
	previous_until bigint
);

-- Changes with every change of a key.
CREATE TABLE api_keys_version (
	one     integer PRIMARY KEY CHECK (one = 1),
	version bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO api_keys_version VALUES (1, 0);

-- The key that made a batch, and the models that it may use.
ALTER TABLE batches ADD COLUMN key_id text NOT NULL DEFAULT '';
ALTER TABLE batches ADD COLUMN models text;
