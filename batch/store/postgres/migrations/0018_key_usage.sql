-- Tokens and cost by key and day. Costs are integers, in billionths of the currency's unit.
CREATE TABLE key_usage (
	tenant        TEXT NOT NULL,
	day           BIGINT NOT NULL, -- when it begins, UTC
	key_id        TEXT NOT NULL, -- '': a client without a key
	class         TEXT NOT NULL,
	model         TEXT NOT NULL,
	requests      BIGINT NOT NULL,
	failures      BIGINT NOT NULL,
	unpriced      BIGINT NOT NULL, -- requests of unknown cost
	input_tokens  BIGINT NOT NULL,
	cached_tokens BIGINT NOT NULL,
	output_tokens BIGINT NOT NULL,
	cost          BIGINT NOT NULL,
	PRIMARY KEY (tenant, day, key_id, class, model)
) WITH (fillfactor = 70);
CREATE INDEX key_usage_day ON key_usage (day);

ALTER TABLE batches ADD COLUMN cost BIGINT NOT NULL DEFAULT 0;
ALTER TABLE batches ADD COLUMN unpriced BIGINT NOT NULL DEFAULT 0; -- lines whose model had no price
