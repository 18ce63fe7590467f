-- The models that upstreams told last.
CREATE TABLE upstream_models (
	upstream text PRIMARY KEY,
	models   text NOT NULL,
	told_at  bigint NOT NULL
);
CREATE INDEX upstream_models_told ON upstream_models (told_at);
