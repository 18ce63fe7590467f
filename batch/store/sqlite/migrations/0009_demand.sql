-- Lines that ended, by model and minute, and when they were sent: from this follows
-- how quickly lines of a model end.
CREATE TABLE model_minutes (
	minute   INTEGER NOT NULL, -- when it begins
	model    TEXT NOT NULL, -- '' for all lines of batches that name several
	lines    INTEGER NOT NULL,
	first_at INTEGER NOT NULL, -- when the first of them was sent
	began_at INTEGER NOT NULL, -- when the last of them was sent
	last_at  INTEGER NOT NULL, -- when the last of them ended
	PRIMARY KEY (minute, model)
) STRICT, WITHOUT ROWID;

-- Lines by model of batches that wait for a model, and of those that name several.
CREATE TABLE batch_models (
	batch INTEGER NOT NULL, -- seq
	model TEXT NOT NULL,
	lines INTEGER NOT NULL,
	done  INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (batch, model)
) STRICT, WITHOUT ROWID;
