-- Pausing, priorities, per-line information and the counters behind reports.
-- Counters are kept by triggers, so that they are right whichever version of
-- the program writes.

ALTER TABLE batches ADD COLUMN paused_at INTEGER;
ALTER TABLE batches ADD COLUMN index_file_id TEXT NOT NULL DEFAULT ''; -- of its lines, once it ended
ALTER TABLE segments ADD COLUMN info BLOB; -- how the lines in data came about

CREATE INDEX batches_turns ON batches ((paused_at IS NOT NULL), priority DESC, expires_at, seq) WHERE status = 'in_progress';
CREATE INDEX batches_status ON batches (tenant, status, seq) WHERE deleted_at IS NULL;
CREATE INDEX batches_model ON batches (tenant, model, seq) WHERE deleted_at IS NULL;
CREATE INDEX batches_status_model ON batches (tenant, status, model, seq) WHERE deleted_at IS NULL;
CREATE INDEX files_size ON files (tenant, bytes DESC, seq DESC) WHERE deleted_at IS NULL;
CREATE INDEX batches_created ON batches (tenant, created_at, seq);

-- Lines that got their result, by minute.
CREATE TABLE batch_minutes (
	batch     INTEGER NOT NULL, -- seq
	minute    INTEGER NOT NULL, -- when it begins
	completed INTEGER NOT NULL,
	failed    INTEGER NOT NULL,
	PRIMARY KEY (batch, minute)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_minutes_age ON batch_minutes (minute);

CREATE INDEX usage_15m_age ON usage_15m (bucket);

-- Sums of usage_15m by day, for long periods. They are floating point, so that
-- absurd counts break nothing.
CREATE TABLE usage_1d (
	tenant           TEXT NOT NULL,
	day              INTEGER NOT NULL, -- when it begins, UTC
	class            TEXT NOT NULL,
	model            TEXT NOT NULL,
	requests         REAL NOT NULL,
	failures         REAL NOT NULL,
	input_tokens     REAL NOT NULL,
	cached_tokens    REAL NOT NULL,
	output_tokens    REAL NOT NULL,
	reasoning_tokens REAL NOT NULL,
	total_tokens     REAL NOT NULL,
	PRIMARY KEY (tenant, day, class, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_1d_age ON usage_1d (day);
INSERT INTO usage_1d SELECT tenant, bucket - bucket % 86400000000 AS day, class, model,
	total(requests), total(failures), total(input_tokens), total(cached_tokens), total(output_tokens), total(reasoning_tokens), total(total_tokens) FROM usage_15m GROUP BY tenant, day, class, model;
-- Cells are written by INSERT OR REPLACE, so what a write adds is what it has
-- more than the row before.
CREATE TRIGGER usage_summed BEFORE INSERT ON usage_15m BEGIN
	INSERT INTO usage_1d
		SELECT NEW.tenant, NEW.bucket - NEW.bucket % 86400000000, NEW.class, NEW.model,
			CAST(NEW.requests AS REAL) - total(u.requests), CAST(NEW.failures AS REAL) - total(u.failures), CAST(NEW.input_tokens AS REAL) - total(u.input_tokens), CAST(NEW.cached_tokens AS REAL) - total(u.cached_tokens), CAST(NEW.output_tokens AS REAL) - total(u.output_tokens), CAST(NEW.reasoning_tokens AS REAL) - total(u.reasoning_tokens), CAST(NEW.total_tokens AS REAL) - total(u.total_tokens)
		FROM usage_15m u WHERE u.tenant = NEW.tenant AND u.bucket = NEW.bucket AND u.class = NEW.class AND u.model = NEW.model AND u.endpoint = NEW.endpoint
		ON CONFLICT (tenant, day, class, model) DO UPDATE SET requests = requests + excluded.requests, failures = failures + excluded.failures, input_tokens = input_tokens + excluded.input_tokens, cached_tokens = cached_tokens + excluded.cached_tokens, output_tokens = output_tokens + excluded.output_tokens, reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens, total_tokens = total_tokens + excluded.total_tokens;
END;

-- What happened, by 15 minutes.
CREATE TABLE events_15m (
	tenant TEXT NOT NULL,
	bucket INTEGER NOT NULL, -- when it begins
	kind   TEXT NOT NULL, -- 'upload', 'batch_created', 'batch_ended'
	events INTEGER NOT NULL,
	amount INTEGER NOT NULL, -- bytes of uploads, time that ended batches took
	PRIMARY KEY (tenant, bucket, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_15m_age ON events_15m (bucket);

CREATE TABLE batch_states (
	tenant  TEXT NOT NULL,
	status  TEXT NOT NULL,
	batches INTEGER NOT NULL, -- that are not deleted
	PRIMARY KEY (tenant, status)
) STRICT, WITHOUT ROWID;
INSERT INTO batch_states SELECT tenant, status, count(*) FROM batches WHERE deleted_at IS NULL GROUP BY tenant, status;

-- What contents take.
CREATE TABLE storage (
	tenant  TEXT NOT NULL,
	purpose TEXT NOT NULL, -- of files; 'upload_part' for what is not a file yet
	files   INTEGER NOT NULL,
	bytes   INTEGER NOT NULL,
	PRIMARY KEY (tenant, purpose)
) STRICT, WITHOUT ROWID;
INSERT INTO storage SELECT tenant, purpose, count(*), sum(bytes) FROM files WHERE collected_at IS NULL GROUP BY tenant, purpose;
INSERT INTO storage SELECT u.tenant, 'upload_part', count(*), sum(p.bytes) FROM upload_parts p JOIN uploads u ON u.seq = p.upload
	WHERE p.gone_at IS NULL GROUP BY u.tenant
	ON CONFLICT (tenant, purpose) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;

CREATE TRIGGER batches_made AFTER INSERT ON batches BEGIN
	INSERT INTO batch_states VALUES (NEW.tenant, NEW.status, 1) ON CONFLICT (tenant, status) DO UPDATE SET batches = batches + 1;
	INSERT INTO events_15m VALUES (NEW.tenant, NEW.created_at - NEW.created_at % 900000000, 'batch_created', 1, 0)
		ON CONFLICT (tenant, bucket, kind) DO UPDATE SET events = events + 1;
END;
CREATE TRIGGER batches_moved AFTER UPDATE OF status ON batches WHEN OLD.status <> NEW.status AND NEW.deleted_at IS NULL BEGIN
	UPDATE batch_states SET batches = batches - 1 WHERE tenant = OLD.tenant AND status = OLD.status;
	INSERT INTO batch_states VALUES (NEW.tenant, NEW.status, 1) ON CONFLICT (tenant, status) DO UPDATE SET batches = batches + 1;
END;
CREATE TRIGGER batches_ended AFTER UPDATE OF status ON batches
	WHEN OLD.status <> NEW.status AND NEW.status IN ('failed', 'completed', 'expired', 'cancelled') BEGIN
	INSERT INTO events_15m
		SELECT NEW.tenant, at - at % 900000000, 'batch_ended', 1, at - NEW.created_at
		FROM (SELECT coalesce(NEW.failed_at, NEW.completed_at, NEW.expired_at, NEW.cancelled_at, NEW.created_at) AS at) WHERE TRUE
		ON CONFLICT (tenant, bucket, kind) DO UPDATE SET events = events + 1, amount = amount + excluded.amount;
END;
CREATE TRIGGER batches_hidden AFTER UPDATE OF deleted_at ON batches WHEN OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL BEGIN
	UPDATE batch_states SET batches = batches - 1 WHERE tenant = OLD.tenant AND status = OLD.status;
END;

CREATE TRIGGER files_made AFTER INSERT ON files BEGIN
	INSERT INTO storage VALUES (NEW.tenant, NEW.purpose, 1, NEW.bytes)
		ON CONFLICT (tenant, purpose) DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER files_uploaded AFTER INSERT ON files WHEN NEW.purpose NOT IN ('batch_output', 'batch_index') BEGIN
	INSERT INTO events_15m VALUES (NEW.tenant, NEW.created_at - NEW.created_at % 900000000, 'upload', 1, NEW.bytes)
		ON CONFLICT (tenant, bucket, kind) DO UPDATE SET events = events + 1, amount = amount + excluded.amount;
END;
CREATE TRIGGER files_collected AFTER UPDATE OF collected_at ON files WHEN OLD.collected_at IS NULL AND NEW.collected_at IS NOT NULL BEGIN
	UPDATE storage SET files = files - 1, bytes = bytes - OLD.bytes WHERE tenant = OLD.tenant AND purpose = OLD.purpose;
END;

CREATE TRIGGER parts_made AFTER INSERT ON upload_parts BEGIN
	INSERT INTO storage SELECT tenant, 'upload_part', 1, NEW.bytes FROM uploads WHERE seq = NEW.upload
		ON CONFLICT (tenant, purpose) DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER parts_over AFTER UPDATE OF gone_at ON upload_parts WHEN OLD.gone_at IS NULL AND NEW.gone_at IS NOT NULL BEGIN
	UPDATE storage SET files = files - 1, bytes = bytes - OLD.bytes
		WHERE tenant = (SELECT tenant FROM uploads WHERE seq = OLD.upload) AND purpose = 'upload_part';
END;
