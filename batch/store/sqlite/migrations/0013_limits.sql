-- The limits of a key, JSON; NULL: none.
ALTER TABLE api_keys ADD COLUMN limits TEXT;

-- The estimated tokens of all lines of a batch.
ALTER TABLE batches ADD COLUMN queued_tokens INTEGER NOT NULL DEFAULT 0;
