-- Times are microseconds since the Unix epoch, durations microseconds. A row's
-- seq only grows and is never used again, so that it is the order of creation.

CREATE TABLE files (
	seq          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id           TEXT NOT NULL UNIQUE,
	tenant       TEXT NOT NULL,
	content      TEXT NOT NULL UNIQUE, -- key in the file store
	filename     TEXT NOT NULL,
	purpose      TEXT NOT NULL,
	bytes        BIGINT NOT NULL,
	sha256       TEXT NOT NULL,
	compression  TEXT, -- JSON
	created_at   BIGINT NOT NULL,
	expires_at   BIGINT,
	deleted_at   BIGINT,
	gone_at      BIGINT GENERATED ALWAYS AS (coalesce(deleted_at, expires_at)) STORED,
	collected_at BIGINT -- its content was removed
);
CREATE INDEX files_page ON files (tenant, seq) WHERE deleted_at IS NULL;
CREATE INDEX files_page_purpose ON files (tenant, purpose, seq) WHERE deleted_at IS NULL;
CREATE INDEX files_garbage ON files (gone_at) WHERE collected_at IS NULL AND gone_at IS NOT NULL;
CREATE INDEX files_forgettable ON files (gone_at) WHERE collected_at IS NOT NULL;

CREATE TABLE uploads (
	seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id         TEXT NOT NULL UNIQUE,
	tenant     TEXT NOT NULL,
	filename   TEXT NOT NULL,
	purpose    TEXT NOT NULL,
	mime_type  TEXT NOT NULL,
	bytes      BIGINT NOT NULL,
	file_ttl   BIGINT NOT NULL,
	status     TEXT NOT NULL CHECK (status IN ('pending', 'completed', 'cancelled', 'expired')),
	file_id    TEXT NOT NULL DEFAULT '',
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	ended_at   BIGINT -- it left pending
);
CREATE INDEX uploads_pending ON uploads (expires_at) WHERE status = 'pending';
CREATE INDEX uploads_forgettable ON uploads (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE upload_parts (
	seq          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id           TEXT NOT NULL UNIQUE,
	upload       BIGINT NOT NULL REFERENCES uploads (seq),
	content      TEXT NOT NULL UNIQUE,
	bytes        BIGINT NOT NULL,
	created_at   BIGINT NOT NULL,
	gone_at      BIGINT, -- its upload is over
	collected_at BIGINT
);
CREATE INDEX upload_parts_upload ON upload_parts (upload);
CREATE INDEX upload_parts_garbage ON upload_parts (gone_at) WHERE collected_at IS NULL AND gone_at IS NOT NULL;

CREATE TABLE batches (
	seq               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id                TEXT NOT NULL UNIQUE,
	tenant            TEXT NOT NULL,
	endpoint          TEXT NOT NULL,
	input_file_id     TEXT NOT NULL, -- as the client wrote it
	input             BIGINT, -- the file that this named when the batch was made, NULL for none
	completion_window TEXT NOT NULL,
	metadata          TEXT, -- JSON
	priority          INTEGER NOT NULL,
	output_ttl        BIGINT NOT NULL,
	idempotency_key   TEXT NOT NULL,
	request_hash      TEXT NOT NULL,
	status            TEXT NOT NULL CHECK (status IN ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled')),
	ending            TEXT NOT NULL DEFAULT '' CHECK (ending IN ('', 'completed', 'expired', 'cancelled')),
	model             TEXT NOT NULL DEFAULT '',
	errors            TEXT, -- JSON
	total             BIGINT NOT NULL DEFAULT 0,
	completed         BIGINT NOT NULL DEFAULT 0,
	failed            BIGINT NOT NULL DEFAULT 0,
	input_tokens      BIGINT NOT NULL DEFAULT 0,
	cached_tokens     BIGINT NOT NULL DEFAULT 0,
	output_tokens     BIGINT NOT NULL DEFAULT 0,
	reasoning_tokens  BIGINT NOT NULL DEFAULT 0,
	total_tokens      BIGINT NOT NULL DEFAULT 0,
	output_file_id    TEXT NOT NULL DEFAULT '',
	error_file_id     TEXT NOT NULL DEFAULT '',
	created_at        BIGINT NOT NULL,
	expires_at        BIGINT NOT NULL,
	in_progress_at    BIGINT,
	finalizing_at     BIGINT,
	completed_at      BIGINT,
	failed_at         BIGINT,
	expired_at        BIGINT,
	cancelling_at     BIGINT,
	cancelled_at      BIGINT,
	deleted_at        BIGINT,
	attempt           INTEGER NOT NULL DEFAULT 0, -- goes up with every claim and every change of state
	owner             TEXT NOT NULL DEFAULT '',
	lease_until       BIGINT NOT NULL DEFAULT 0, -- 0: not claimed
	work              INTEGER NOT NULL DEFAULT 0, -- 1: there may be slices
	CHECK (completed + failed <= total)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE UNIQUE INDEX batches_idempotency ON batches (tenant, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX batches_page ON batches (tenant, seq) WHERE deleted_at IS NULL;
CREATE INDEX batches_active ON batches (priority DESC, expires_at, seq) WHERE status = 'in_progress';
CREATE INDEX batches_deadline ON batches (expires_at) WHERE status = 'in_progress';
CREATE INDEX batches_pending ON batches (seq) WHERE status IN ('validating', 'finalizing', 'cancelling');
CREATE INDEX batches_input ON batches (input) WHERE deleted_at IS NULL;
CREATE INDEX batches_input_unfinished ON batches (input) WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling');
CREATE INDEX batches_work ON batches (seq) WHERE work = 1 AND status IN ('failed', 'completed', 'expired', 'cancelled');
CREATE INDEX batches_forgettable ON batches (deleted_at) WHERE deleted_at IS NOT NULL AND work = 0;

-- What changes with every claim and every commit is in no index, so that rows
-- are updated in place (HOT).
CREATE TABLE slices (
	batch       BIGINT NOT NULL REFERENCES batches (seq),
	number      INTEGER NOT NULL,
	start       BIGINT NOT NULL, -- in the input file, in bytes
	length      BIGINT NOT NULL,
	first_line  INTEGER NOT NULL,
	lines       INTEGER NOT NULL CHECK (lines BETWEEN 1 AND 64),
	done        BIGINT NOT NULL DEFAULT 0, -- bit i: line i has a result
	finished    BOOLEAN NOT NULL DEFAULT FALSE, -- all lines have one
	attempt     INTEGER NOT NULL DEFAULT 0, -- of the latest claim
	owner       TEXT NOT NULL DEFAULT '',
	lease_until BIGINT NOT NULL DEFAULT 0, -- 0: not claimed
	PRIMARY KEY (batch, number)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX slices_unfinished ON slices (batch, number) WHERE NOT finished;

CREATE TABLE segments (
	batch  BIGINT NOT NULL,
	slice  INTEGER NOT NULL,
	number INTEGER NOT NULL, -- lines of the slice that were done before
	data   BYTEA NOT NULL,
	PRIMARY KEY (batch, slice, number)
);
-- A group commit does not wait for compression.
ALTER TABLE segments ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE usage_15m (
	tenant           TEXT NOT NULL,
	bucket           BIGINT NOT NULL, -- when it begins
	class            TEXT NOT NULL,
	model            TEXT NOT NULL,
	endpoint         TEXT NOT NULL,
	requests         BIGINT NOT NULL,
	failures         BIGINT NOT NULL,
	input_tokens     BIGINT NOT NULL,
	cached_tokens    BIGINT NOT NULL,
	output_tokens    BIGINT NOT NULL,
	reasoning_tokens BIGINT NOT NULL,
	total_tokens     BIGINT NOT NULL,
	PRIMARY KEY (tenant, bucket, class, model, endpoint)
);


-- Gateways that use this database, as they announced themselves.
CREATE TABLE gateways (
	id    TEXT PRIMARY KEY,
	host  TEXT NOT NULL,
	place TEXT NOT NULL, -- where its contents lie
	since BIGINT NOT NULL,
	until BIGINT NOT NULL, -- it is believed to be there
	loads TEXT NOT NULL -- JSON
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);
