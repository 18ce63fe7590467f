ALTER TABLE key_usage ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0; -- requests whose tokens are estimated
