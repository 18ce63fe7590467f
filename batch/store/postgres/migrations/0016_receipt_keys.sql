-- The public keys with which gateways on this database have signed receipts.
CREATE TABLE receipt_keys (
	id       TEXT PRIMARY KEY,
	public   TEXT NOT NULL,
	added_at BIGINT NOT NULL
);
CREATE INDEX receipt_keys_added ON receipt_keys (added_at, id);
