-- Pausing, priorities, per-line information and the counters behind reports.
-- Counters are kept by triggers, so that they are right whichever version of
-- the program writes.

-- Gateways of an earlier version may be writing: they wait until the counters
-- are there.
LOCK TABLE batches, segments IN ACCESS EXCLUSIVE MODE;
LOCK TABLE uploads, files, upload_parts IN SHARE ROW EXCLUSIVE MODE;

ALTER TABLE batches ADD COLUMN paused_at BIGINT;
ALTER TABLE batches ADD COLUMN index_file_id TEXT NOT NULL DEFAULT ''; -- of its lines, once it ended
ALTER TABLE segments ADD COLUMN info BYTEA; -- how the lines in data came about

CREATE INDEX batches_turns ON batches ((paused_at IS NOT NULL), priority DESC, expires_at, seq) WHERE status = 'in_progress';
CREATE INDEX batches_status ON batches (tenant, status, seq) WHERE deleted_at IS NULL;
CREATE INDEX batches_model ON batches (tenant, model, seq) WHERE deleted_at IS NULL;
CREATE INDEX batches_status_model ON batches (tenant, status, model, seq) WHERE deleted_at IS NULL;
CREATE INDEX files_size ON files (tenant, bytes DESC, seq DESC) WHERE deleted_at IS NULL;
CREATE INDEX batches_created ON batches (tenant, created_at, seq);

-- Lines that got their result, by minute.
CREATE TABLE batch_minutes (
	batch     BIGINT NOT NULL, -- seq
	minute    BIGINT NOT NULL, -- when it begins
	completed BIGINT NOT NULL,
	failed    BIGINT NOT NULL,
	PRIMARY KEY (batch, minute)
) WITH (fillfactor = 70);
CREATE INDEX batch_minutes_age ON batch_minutes (minute);

CREATE INDEX usage_15m_age ON usage_15m (bucket);

-- Sums of usage_15m by day, for long periods. They are floating point, so that
-- absurd counts break nothing.
CREATE TABLE usage_1d (
	tenant           TEXT NOT NULL,
	day              BIGINT NOT NULL, -- when it begins, UTC
	class            TEXT NOT NULL,
	model            TEXT NOT NULL,
	requests         FLOAT8 NOT NULL,
	failures         FLOAT8 NOT NULL,
	input_tokens     FLOAT8 NOT NULL,
	cached_tokens    FLOAT8 NOT NULL,
	output_tokens    FLOAT8 NOT NULL,
	reasoning_tokens FLOAT8 NOT NULL,
	total_tokens     FLOAT8 NOT NULL,
	PRIMARY KEY (tenant, day, class, model)
) WITH (fillfactor = 70);
CREATE INDEX usage_1d_age ON usage_1d (day);
LOCK TABLE usage_15m IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO usage_1d SELECT tenant, bucket - bucket % 86400000000, class, model,
	sum(requests::float8), sum(failures::float8), sum(input_tokens::float8), sum(cached_tokens::float8), sum(output_tokens::float8), sum(reasoning_tokens::float8), sum(total_tokens::float8) FROM usage_15m GROUP BY 1, 2, 3, 4;
CREATE FUNCTION usage_summed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		INSERT INTO usage_1d AS u VALUES (NEW.tenant, NEW.bucket - NEW.bucket % 86400000000, NEW.class, NEW.model,
			NEW.requests, NEW.failures, NEW.input_tokens, NEW.cached_tokens, NEW.output_tokens, NEW.reasoning_tokens, NEW.total_tokens)
			ON CONFLICT (tenant, day, class, model) DO UPDATE SET requests = u.requests + excluded.requests, failures = u.failures + excluded.failures, input_tokens = u.input_tokens + excluded.input_tokens, cached_tokens = u.cached_tokens + excluded.cached_tokens, output_tokens = u.output_tokens + excluded.output_tokens, reasoning_tokens = u.reasoning_tokens + excluded.reasoning_tokens, total_tokens = u.total_tokens + excluded.total_tokens;
	ELSE
		UPDATE usage_1d SET requests = requests + NEW.requests::float8 - OLD.requests::float8, failures = failures + NEW.failures::float8 - OLD.failures::float8, input_tokens = input_tokens + NEW.input_tokens::float8 - OLD.input_tokens::float8, cached_tokens = cached_tokens + NEW.cached_tokens::float8 - OLD.cached_tokens::float8, output_tokens = output_tokens + NEW.output_tokens::float8 - OLD.output_tokens::float8, reasoning_tokens = reasoning_tokens + NEW.reasoning_tokens::float8 - OLD.reasoning_tokens::float8, total_tokens = total_tokens + NEW.total_tokens::float8 - OLD.total_tokens::float8
			WHERE tenant = NEW.tenant AND day = NEW.bucket - NEW.bucket % 86400000000 AND class = NEW.class AND model = NEW.model;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER usage_summed AFTER INSERT OR UPDATE ON usage_15m FOR EACH ROW EXECUTE FUNCTION usage_summed();

-- What happened, by 15 minutes.
CREATE TABLE events_15m (
	tenant TEXT NOT NULL,
	bucket BIGINT NOT NULL, -- when it begins
	kind   TEXT NOT NULL, -- 'upload', 'batch_created', 'batch_ended'
	events BIGINT NOT NULL,
	amount BIGINT NOT NULL, -- bytes of uploads, time that ended batches took
	PRIMARY KEY (tenant, bucket, kind)
) WITH (fillfactor = 70);
CREATE INDEX events_15m_age ON events_15m (bucket);

CREATE TABLE batch_states (
	tenant  TEXT NOT NULL,
	status  TEXT NOT NULL,
	batches BIGINT NOT NULL, -- that are not deleted
	PRIMARY KEY (tenant, status)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);

-- What contents take.
CREATE TABLE storage (
	tenant  TEXT NOT NULL,
	purpose TEXT NOT NULL, -- of files; 'upload_part' for what is not a file yet
	files   BIGINT NOT NULL,
	bytes   BIGINT NOT NULL,
	PRIMARY KEY (tenant, purpose)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);

INSERT INTO batch_states SELECT tenant, status, count(*) FROM batches WHERE deleted_at IS NULL GROUP BY tenant, status;
INSERT INTO storage SELECT tenant, purpose, count(*), sum(bytes) FROM files WHERE collected_at IS NULL GROUP BY tenant, purpose;
INSERT INTO storage AS s SELECT u.tenant, 'upload_part', count(*), sum(p.bytes) FROM upload_parts p JOIN uploads u ON u.seq = p.upload
	WHERE p.gone_at IS NULL GROUP BY u.tenant
	ON CONFLICT (tenant, purpose) DO UPDATE SET files = s.files + excluded.files, bytes = s.bytes + excluded.bytes;

-- Rows of batch_states are changed in the order of the states' progress, so
-- that transactions wait for each other and do not deadlock.
CREATE FUNCTION batches_made() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO batch_states AS s VALUES (NEW.tenant, NEW.status, 1) ON CONFLICT (tenant, status) DO UPDATE SET batches = s.batches + 1;
	INSERT INTO events_15m AS e VALUES (NEW.tenant, NEW.created_at - NEW.created_at % 900000000, 'batch_created', 1, 0)
		ON CONFLICT (tenant, bucket, kind) DO UPDATE SET events = e.events + 1;
	RETURN NULL;
END $$;
CREATE TRIGGER batches_made AFTER INSERT ON batches FOR EACH ROW EXECUTE FUNCTION batches_made();

CREATE FUNCTION batches_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	UPDATE batch_states SET batches = batches - 1 WHERE tenant = OLD.tenant AND status = OLD.status;
	INSERT INTO batch_states AS s VALUES (NEW.tenant, NEW.status, 1) ON CONFLICT (tenant, status) DO UPDATE SET batches = s.batches + 1;
	RETURN NULL;
END $$;
CREATE TRIGGER batches_moved AFTER UPDATE OF status ON batches FOR EACH ROW
	WHEN (OLD.status <> NEW.status AND NEW.deleted_at IS NULL) EXECUTE FUNCTION batches_moved();

CREATE FUNCTION batches_ended() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE ended BIGINT := coalesce(NEW.failed_at, NEW.completed_at, NEW.expired_at, NEW.cancelled_at, NEW.created_at);
BEGIN
	INSERT INTO events_15m AS e VALUES (NEW.tenant, ended - ended % 900000000, 'batch_ended', 1, ended - NEW.created_at)
		ON CONFLICT (tenant, bucket, kind) DO UPDATE SET events = e.events + 1, amount = e.amount + excluded.amount;
	RETURN NULL;
END $$;
CREATE TRIGGER batches_ended AFTER UPDATE OF status ON batches FOR EACH ROW
	WHEN (OLD.status <> NEW.status AND NEW.status IN ('failed', 'completed', 'expired', 'cancelled')) EXECUTE FUNCTION batches_ended();

CREATE FUNCTION batches_hidden() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	UPDATE batch_states SET batches = batches - 1 WHERE tenant = OLD.tenant AND status = OLD.status;
	RETURN NULL;
END $$;
CREATE TRIGGER batches_hidden AFTER UPDATE OF deleted_at ON batches FOR EACH ROW
	WHEN (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL) EXECUTE FUNCTION batches_hidden();

CREATE FUNCTION files_made() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO storage AS s VALUES (NEW.tenant, NEW.purpose, 1, NEW.bytes)
		ON CONFLICT (tenant, purpose) DO UPDATE SET files = s.files + 1, bytes = s.bytes + excluded.bytes;
	IF NEW.purpose NOT IN ('batch_output', 'batch_index') THEN
		INSERT INTO events_15m AS e VALUES (NEW.tenant, NEW.created_at - NEW.created_at % 900000000, 'upload', 1, NEW.bytes)
			ON CONFLICT (tenant, bucket, kind) DO UPDATE SET events = e.events + 1, amount = e.amount + excluded.amount;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER files_made AFTER INSERT ON files FOR EACH ROW EXECUTE FUNCTION files_made();

CREATE FUNCTION files_collected() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	UPDATE storage SET files = files - 1, bytes = bytes - OLD.bytes WHERE tenant = OLD.tenant AND purpose = OLD.purpose;
	RETURN NULL;
END $$;
CREATE TRIGGER files_collected AFTER UPDATE OF collected_at ON files FOR EACH ROW
	WHEN (OLD.collected_at IS NULL AND NEW.collected_at IS NOT NULL) EXECUTE FUNCTION files_collected();

CREATE FUNCTION parts_made() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO storage AS s SELECT tenant, 'upload_part', 1, NEW.bytes FROM uploads WHERE seq = NEW.upload
		ON CONFLICT (tenant, purpose) DO UPDATE SET files = s.files + 1, bytes = s.bytes + excluded.bytes;
	RETURN NULL;
END $$;
CREATE TRIGGER parts_made AFTER INSERT ON upload_parts FOR EACH ROW EXECUTE FUNCTION parts_made();

CREATE FUNCTION parts_over() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	UPDATE storage SET files = files - 1, bytes = bytes - OLD.bytes
		WHERE tenant = (SELECT tenant FROM uploads WHERE seq = OLD.upload) AND purpose = 'upload_part';
	RETURN NULL;
END $$;
CREATE TRIGGER parts_over AFTER UPDATE OF gone_at ON upload_parts FOR EACH ROW
	WHEN (OLD.gone_at IS NULL AND NEW.gone_at IS NOT NULL) EXECUTE FUNCTION parts_over();
