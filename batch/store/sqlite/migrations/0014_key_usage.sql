-- Tokens and cost by key and day. Costs are integers, in billionths of the currency's unit.
CREATE TABLE key_usage (
	tenant        TEXT NOT NULL,
	day           INTEGER NOT NULL, -- when it begins, UTC
	key_id        TEXT NOT NULL, -- '': a client without a key
	class         TEXT NOT NULL,
	model         TEXT NOT NULL,
	requests      INTEGER NOT NULL,
	failures      INTEGER NOT NULL,
	unpriced      INTEGER NOT NULL, -- requests of unknown cost
	input_tokens  INTEGER NOT NULL,
	cached_tokens INTEGER NOT NULL,
	output_tokens INTEGER NOT NULL,
	cost          INTEGER NOT NULL,
	PRIMARY KEY (tenant, day, key_id, class, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX key_usage_day ON key_usage (day);

ALTER TABLE batches ADD COLUMN cost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batches ADD COLUMN unpriced INTEGER NOT NULL DEFAULT 0; -- lines whose model had no price
