-- Lists of the files and batches of all tenants by each filter. Only their statements have
-- the condition seq > 0, so that no plan of another statement uses these indexes of batches.
CREATE INDEX files_all_page ON files (seq) WHERE deleted_at IS NULL AND purpose <> 'batch_index';
CREATE INDEX batches_all_page ON batches (seq) WHERE deleted_at IS NULL AND seq > 0;
CREATE INDEX batches_all_status ON batches (status, seq) WHERE deleted_at IS NULL AND seq > 0;
CREATE INDEX batches_all_model ON batches (model, status, seq) WHERE deleted_at IS NULL AND seq > 0;
CREATE INDEX batches_all_paused ON batches (seq)
	WHERE paused_at IS NOT NULL AND status IN ('validating', 'in_progress') AND deleted_at IS NULL AND seq > 0;
CREATE INDEX batches_all_created ON batches (created_at, seq) WHERE seq > 0;
