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
