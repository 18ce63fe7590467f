-- The log of what clients changed.
CREATE TABLE audit_log (
	seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at         BIGINT NOT NULL,
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
);
CREATE INDEX audit_log_at ON audit_log (at, seq);
CREATE INDEX audit_log_outcome ON audit_log (outcome, seq);

CREATE FUNCTION audit_log_unchanged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'entries of audit_log are never changed';
END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_log_unchanged();
