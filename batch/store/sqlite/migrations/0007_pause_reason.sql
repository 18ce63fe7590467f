-- Why the gateway itself paused a batch; '' when a client asked for it.
ALTER TABLE batches ADD COLUMN pause_reason TEXT NOT NULL DEFAULT '';
