-- Lines that ended, by model and minute, and when they were sent: from this follows
-- how quickly lines of a model end.
CREATE TABLE model_minutes (
	minute   BIGINT NOT NULL, -- when it begins
	model    TEXT NOT NULL, -- '' for all lines of batches that name several
	lines    BIGINT NOT NULL,
	first_at BIGINT NOT NULL, -- when the first of them was sent
	began_at BIGINT NOT NULL, -- when the last of them was sent
	last_at  BIGINT NOT NULL, -- when the last of them ended
	PRIMARY KEY (minute, model)
) WITH (fillfactor = 70);

-- Lines by model of batches that wait for a model, and of those that name several.
CREATE TABLE batch_models (
	batch BIGINT NOT NULL, -- seq
	model TEXT NOT NULL,
	lines BIGINT NOT NULL,
	done  BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (batch, model)
) WITH (fillfactor = 70);
