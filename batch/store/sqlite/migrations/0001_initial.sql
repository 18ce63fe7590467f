-- Times are microseconds since the Unix epoch, durations microseconds. A row's
-- seq only grows and is never used again, so that it is the order of creation.

CREATE TABLE files (
	seq          INTEGER PRIMARY KEY AUTOINCREMENT,
	id           TEXT NOT NULL UNIQUE,
	tenant       TEXT NOT NULL,
	content      TEXT NOT NULL UNIQUE, -- key in the file store
	filename     TEXT NOT NULL,
	purpose      TEXT NOT NULL,
	bytes        INTEGER NOT NULL,
	sha256       TEXT NOT NULL,
	compression  TEXT, -- JSON
	created_at   INTEGER NOT NULL,
	expires_at   INTEGER,
	deleted_at   INTEGER,
	gone_at      INTEGER GENERATED ALWAYS AS (coalesce(deleted_at, expires_at)) VIRTUAL,
	collected_at INTEGER -- its content was removed
) STRICT;
CREATE INDEX files_page ON files (tenant, seq) WHERE deleted_at IS NULL;
CREATE INDEX files_page_purpose ON files (tenant, purpose, seq) WHERE deleted_at IS NULL;
CREATE INDEX files_garbage ON files (gone_at) WHERE collected_at IS NULL AND gone_at IS NOT NULL;
CREATE INDEX files_forgettable ON files (gone_at) WHERE collected_at IS NOT NULL;

CREATE TABLE uploads (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	id         TEXT NOT NULL UNIQUE,
	tenant     TEXT NOT NULL,
	filename   TEXT NOT NULL,
	purpose    TEXT NOT NULL,
	mime_type  TEXT NOT NULL,
	bytes      INTEGER NOT NULL,
	file_ttl   INTEGER NOT NULL,
	status     TEXT NOT NULL CHECK (status IN ('pending', 'completed', 'cancelled', 'expired')),
	file_id    TEXT NOT NULL DEFAULT '',
	created_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	ended_at   INTEGER -- it left pending
) STRICT;
CREATE INDEX uploads_pending ON uploads (expires_at) WHERE status = 'pending';
CREATE INDEX uploads_forgettable ON uploads (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE upload_parts (
	seq          INTEGER PRIMARY KEY AUTOINCREMENT,
	id           TEXT NOT NULL UNIQUE,
	upload       INTEGER NOT NULL REFERENCES uploads (seq),
	content      TEXT NOT NULL UNIQUE,
	bytes        INTEGER NOT NULL,
	created_at   INTEGER NOT NULL,
	gone_at      INTEGER, -- its upload is over
	collected_at INTEGER
) STRICT;
CREATE INDEX upload_parts_upload ON upload_parts (upload);
CREATE INDEX upload_parts_garbage ON upload_parts (gone_at) WHERE collected_at IS NULL AND gone_at IS NOT NULL;

CREATE TABLE batches (
	seq               INTEGER PRIMARY KEY AUTOINCREMENT,
	id                TEXT NOT NULL UNIQUE,
	tenant            TEXT NOT NULL,
	endpoint          TEXT NOT NULL,
	input_file_id     TEXT NOT NULL, -- as the client wrote it
	input             INTEGER, -- the file that this named when the batch was made, NULL for none
	completion_window TEXT NOT NULL,
	metadata          TEXT, -- JSON
	priority          INTEGER NOT NULL,
	output_ttl        INTEGER NOT NULL,
	idempotency_key   TEXT NOT NULL,
	request_hash      TEXT NOT NULL,
	status            TEXT NOT NULL CHECK (status IN ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled')),
	ending            TEXT NOT NULL DEFAULT '' CHECK (ending IN ('', 'completed', 'expired', 'cancelled')),
	model             TEXT NOT NULL DEFAULT '',
	errors            TEXT, -- JSON
	total             INTEGER NOT NULL DEFAULT 0,
	completed         INTEGER NOT NULL DEFAULT 0,
	failed            INTEGER NOT NULL DEFAULT 0,
	input_tokens      INTEGER NOT NULL DEFAULT 0,
	cached_tokens     INTEGER NOT NULL DEFAULT 0,
	output_tokens     INTEGER NOT NULL DEFAULT 0,
	reasoning_tokens  INTEGER NOT NULL DEFAULT 0,
	total_tokens      INTEGER NOT NULL DEFAULT 0,
	output_file_id    TEXT NOT NULL DEFAULT '',
	error_file_id     TEXT NOT NULL DEFAULT '',
	created_at        INTEGER NOT NULL,
	expires_at        INTEGER NOT NULL,
	in_progress_at    INTEGER,
	finalizing_at     INTEGER,
	completed_at      INTEGER,
	failed_at         INTEGER,
	expired_at        INTEGER,
	cancelling_at     INTEGER,
	cancelled_at      INTEGER,
	deleted_at        INTEGER,
	attempt           INTEGER NOT NULL DEFAULT 0, -- goes up with every claim and every change of state
	owner             TEXT NOT NULL DEFAULT '',
	lease_until       INTEGER NOT NULL DEFAULT 0, -- 0: not claimed
	work              INTEGER NOT NULL DEFAULT 0, -- 1: there may be slices
	CHECK (completed + failed <= total)
) STRICT;
CREATE UNIQUE INDEX batches_idempotency ON batches (tenant, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX batches_page ON batches (tenant, seq) WHERE deleted_at IS NULL;
CREATE INDEX batches_active ON batches (priority DESC, expires_at, seq) WHERE status = 'in_progress';
CREATE INDEX batches_deadline ON batches (expires_at) WHERE status = 'in_progress';
CREATE INDEX batches_pending ON batches (seq) WHERE status IN ('validating', 'finalizing', 'cancelling');
CREATE INDEX batches_input ON batches (input) WHERE deleted_at IS NULL;
CREATE INDEX batches_input_unfinished ON batches (input) WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling');
CREATE INDEX batches_work ON batches (seq) WHERE work = 1 AND status IN ('failed', 'completed', 'expired', 'cancelled');
CREATE INDEX batches_forgettable ON batches (deleted_at) WHERE deleted_at IS NOT NULL AND work = 0;

CREATE TABLE slices (
	batch       INTEGER NOT NULL REFERENCES batches (seq),
	number      INTEGER NOT NULL,
	offset      INTEGER NOT NULL,
	length      INTEGER NOT NULL,
	first_line  INTEGER NOT NULL,
	lines       INTEGER NOT NULL CHECK (lines BETWEEN 1 AND 64),
	lines_left  INTEGER NOT NULL CHECK (lines_left BETWEEN 0 AND lines),
	done        INTEGER NOT NULL DEFAULT 0, -- bit i: line i has a result
	attempt     INTEGER NOT NULL DEFAULT 0, -- of the latest claim
	owner       TEXT NOT NULL DEFAULT '',
	lease_until INTEGER NOT NULL DEFAULT 0, -- 0: not claimed
	PRIMARY KEY (batch, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX slices_unfinished ON slices (batch, number) WHERE lines_left > 0;

CREATE TABLE segments (
	seq    INTEGER PRIMARY KEY,
	batch  INTEGER NOT NULL,
	slice  INTEGER NOT NULL,
	number INTEGER NOT NULL, -- lines of the slice that were done before
	data   BLOB NOT NULL,
	FOREIGN KEY (batch, slice) REFERENCES slices (batch, number)
) STRICT;
CREATE UNIQUE INDEX segments_slice ON segments (batch, slice, number);

CREATE TABLE usage_15m (
	tenant           TEXT NOT NULL,
	bucket           INTEGER NOT NULL, -- when it begins
	class            TEXT NOT NULL,
	model            TEXT NOT NULL,
	endpoint         TEXT NOT NULL,
	requests         INTEGER NOT NULL,
	failures         INTEGER NOT NULL,
	input_tokens     INTEGER NOT NULL,
	cached_tokens    INTEGER NOT NULL,
	output_tokens    INTEGER NOT NULL,
	reasoning_tokens INTEGER NOT NULL,
	total_tokens     INTEGER NOT NULL,
	PRIMARY KEY (tenant, bucket, class, model, endpoint)
) STRICT, WITHOUT ROWID;

-- One row that is written to find out whether the database can be.
CREATE TABLE ping (
	id INTEGER PRIMARY KEY CHECK (id = 1),
	at INTEGER NOT NULL
) STRICT;
INSERT INTO ping (id, at) VALUES (1, 0);
