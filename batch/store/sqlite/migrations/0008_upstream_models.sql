-- The models that upstreams told last.
CREATE TABLE upstream_models (
	upstream TEXT PRIMARY KEY,
	models   TEXT NOT NULL,
	told_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX upstream_models_told ON upstream_models (told_at);
