-- The limits of a key, JSON; NULL: none.
ALTER TABLE api_keys ADD COLUMN limits text;

-- The estimated tokens of all lines of a batch.
ALTER TABLE batches ADD COLUMN queued_tokens bigint NOT NULL DEFAULT 0;
