-- The log of what clients changed.
CREATE TABLE audit_log (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	at         INTEGER NOT NULL,
	action     TEXT NOT NULL,
	outcome    TEXT NOT NULL CHECK (outcome IN ('done', 'refused')),
	object     TEXT NOT NULL,
	tenant     TEXT NOT NULL, -- of the object
	detail     TEXT NOT NULL,
	key_id     TEXT NOT NULL, -- of the client, as the next ones
	key_name   TEXT NOT NULL,
	key_tenant TEXT NOT NULL,
	via        TEXT NOT NULL,
	address    TEXT NOT NULL,
	request_id TEXT NOT NULL
) STRICT;
CREATE INDEX audit_log_at ON audit_log (at);
CREATE INDEX audit_log_outcome ON audit_log (outcome);

CREATE TRIGGER audit_log_append_only BEFORE UPDATE ON audit_log BEGIN
	SELECT RAISE(ABORT, 'entries of audit_log are never changed');
END;
