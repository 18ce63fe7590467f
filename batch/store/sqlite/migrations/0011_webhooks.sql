-- The outbox of webhooks: deliveries are queued by a trigger, in the transaction that ends
-- a batch, whichever statement and version of the program ends it.
ALTER TABLE batches ADD COLUMN webhook_url TEXT NOT NULL DEFAULT ''; -- from the metadata

CREATE TABLE webhook_targets (
	tenant   TEXT NOT NULL, -- '*': every tenant
	event    TEXT NOT NULL, -- final status of batches
	endpoint TEXT NOT NULL,
	metadata INTEGER NOT NULL CHECK (metadata IN (0, 1)), -- 1: the address is that of the batch
	seen_at  INTEGER NOT NULL,
	PRIMARY KEY (tenant, event, endpoint)
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_targets_seen ON webhook_targets (seen_at);
CREATE INDEX webhook_targets_endpoint ON webhook_targets (endpoint);

CREATE TABLE webhook_deliveries (
	seq         INTEGER PRIMARY KEY AUTOINCREMENT,
	batch_id    TEXT NOT NULL,
	tenant      TEXT NOT NULL,
	event       TEXT NOT NULL,
	endpoint    TEXT NOT NULL,
	url         TEXT NOT NULL, -- of the batch; '' for a configured endpoint
	state       TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
	attempts    INTEGER NOT NULL DEFAULT 0,
	owner       TEXT NOT NULL DEFAULT '', -- of the claim; '': none
	created_at  INTEGER NOT NULL,
	next_at     INTEGER NOT NULL, -- when it is due; the end of the lease while it is claimed
	ended_at    INTEGER,
	http_status INTEGER NOT NULL DEFAULT 0,
	error       TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX webhook_deliveries_once ON webhook_deliveries (batch_id, endpoint);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint, next_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_old ON webhook_deliveries (created_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_claimed ON webhook_deliveries (owner) WHERE owner <> '';
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX webhook_deliveries_tenant ON webhook_deliveries (tenant, seq);
CREATE INDEX webhook_deliveries_state ON webhook_deliveries (state, seq);
CREATE INDEX webhook_deliveries_tenant_state ON webhook_deliveries (tenant, state, seq);

CREATE TRIGGER webhooks_queued AFTER UPDATE OF status ON batches
	WHEN OLD.status NOT IN ('failed', 'completed', 'expired', 'cancelled') AND NEW.status IN ('failed', 'completed', 'expired', 'cancelled') BEGIN
	INSERT INTO webhook_deliveries (batch_id, tenant, event, endpoint, url, created_at, next_at)
		SELECT NEW.id, NEW.tenant, NEW.status, t.endpoint, iif(t.metadata = 1, NEW.webhook_url, ''), at, at
		FROM webhook_targets t, (SELECT coalesce(NEW.failed_at, NEW.completed_at, NEW.expired_at, NEW.cancelled_at, NEW.created_at) AS at)
		WHERE t.tenant IN (NEW.tenant, '*') AND t.event = NEW.status AND (t.metadata = 0 OR NEW.webhook_url <> '')
		ON CONFLICT (batch_id, endpoint) DO NOTHING;
END;
