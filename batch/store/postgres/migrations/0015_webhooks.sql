-- The outbox of webhooks: deliveries are queued by a trigger, in the transaction that ends
-- a batch, whichever statement and version of the program ends it.
ALTER TABLE batches ADD COLUMN webhook_url TEXT NOT NULL DEFAULT ''; -- from the metadata

CREATE TABLE webhook_targets (
	tenant   TEXT NOT NULL, -- '*': every tenant
	event    TEXT NOT NULL, -- final status of batches
	endpoint TEXT NOT NULL,
	metadata BOOLEAN NOT NULL, -- the address is that of the batch
	seen_at  BIGINT NOT NULL,
	PRIMARY KEY (tenant, event, endpoint)
);

CREATE TABLE webhook_deliveries (
	seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	batch_id    TEXT NOT NULL,
	tenant      TEXT NOT NULL,
	event       TEXT NOT NULL,
	endpoint    TEXT NOT NULL,
	url         TEXT NOT NULL, -- of the batch; '' for a configured endpoint
	state       TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
	attempts    INTEGER NOT NULL DEFAULT 0,
	owner       TEXT NOT NULL DEFAULT '', -- of the claim; '': none
	created_at  BIGINT NOT NULL,
	next_at     BIGINT NOT NULL, -- when it is due; the end of the lease while it is claimed
	ended_at    BIGINT,
	http_status INTEGER NOT NULL DEFAULT 0,
	error       TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX webhook_deliveries_once ON webhook_deliveries (batch_id, endpoint);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint, next_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_old ON webhook_deliveries (created_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX webhook_deliveries_tenant ON webhook_deliveries (tenant, seq);
CREATE INDEX webhook_deliveries_state ON webhook_deliveries (state, seq);
CREATE INDEX webhook_deliveries_tenant_state ON webhook_deliveries (tenant, state, seq);

CREATE FUNCTION webhooks_queued() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE ended BIGINT := coalesce(NEW.failed_at, NEW.completed_at, NEW.expired_at, NEW.cancelled_at, NEW.created_at);
BEGIN
	INSERT INTO webhook_deliveries (batch_id, tenant, event, endpoint, url, created_at, next_at)
		SELECT NEW.id, NEW.tenant, NEW.status, t.endpoint, CASE WHEN t.metadata THEN NEW.webhook_url ELSE '' END, ended, ended
		FROM webhook_targets t
		WHERE t.tenant IN (NEW.tenant, '*') AND t.event = NEW.status AND (NOT t.metadata OR NEW.webhook_url <> '')
		ON CONFLICT (batch_id, endpoint) DO NOTHING;
	RETURN NULL;
END $$;
CREATE TRIGGER webhooks_queued AFTER UPDATE OF status ON batches FOR EACH ROW
	WHEN (OLD.status NOT IN ('failed', 'completed', 'expired', 'cancelled') AND NEW.status IN ('failed', 'completed', 'expired', 'cancelled'))
	EXECUTE FUNCTION webhooks_queued();
