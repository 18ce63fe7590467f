-- What is validated and what is finalized have an order each: by priority.
CREATE INDEX batches_validating ON batches (priority DESC, seq) WHERE status = 'validating';
CREATE INDEX batches_ending ON batches (priority DESC, seq) WHERE status IN ('finalizing', 'cancelling');
