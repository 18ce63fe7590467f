ALTER TABLE key_usage ADD COLUMN estimated BIGINT NOT NULL DEFAULT 0; -- requests whose tokens are estimated
