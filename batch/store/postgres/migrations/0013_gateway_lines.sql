-- Lines of batches that each gateway has in flight, by model, as JSON.
ALTER TABLE gateways ADD COLUMN lines TEXT NOT NULL DEFAULT '{}';
