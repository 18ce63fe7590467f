-- Batches that are paused are listed by themselves. One that has ended is not
-- paused any more, whatever its paused_at.
CREATE INDEX batches_paused ON batches (tenant, seq)
	WHERE paused_at IS NOT NULL AND status IN ('validating', 'in_progress') AND deleted_at IS NULL;
