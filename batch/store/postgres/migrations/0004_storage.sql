-- What storage loses is taken from each of its rows once for a whole statement,
-- and from the rows in one order, so that collectors that work at once wait for
-- each other and do not deadlock. Row by row it was neither.

DROP TRIGGER files_collected ON files;
CREATE OR REPLACE FUNCTION files_collected() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE gone RECORD;
BEGIN
	FOR gone IN SELECT o.tenant, o.purpose, count(*) AS files, sum(o.bytes) AS bytes FROM earlier o JOIN later n ON n.seq = o.seq
		WHERE o.collected_at IS NULL AND n.collected_at IS NOT NULL GROUP BY 1, 2 ORDER BY o.tenant COLLATE "C", o.purpose COLLATE "C"
	LOOP
		UPDATE storage SET files = files - gone.files, bytes = bytes - gone.bytes WHERE tenant = gone.tenant AND purpose = gone.purpose;
	END LOOP;
	RETURN NULL;
END $$;
CREATE TRIGGER files_collected AFTER UPDATE ON files REFERENCING OLD TABLE AS earlier NEW TABLE AS later
	FOR EACH STATEMENT EXECUTE FUNCTION files_collected();

DROP TRIGGER parts_over ON upload_parts;
CREATE OR REPLACE FUNCTION parts_over() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE gone RECORD;
BEGIN
	FOR gone IN SELECT u.tenant, count(*) AS files, sum(o.bytes) AS bytes FROM earlier o JOIN later n ON n.seq = o.seq JOIN uploads u ON u.seq = o.upload
		WHERE o.gone_at IS NULL AND n.gone_at IS NOT NULL GROUP BY 1 ORDER BY u.tenant COLLATE "C"
	LOOP
		UPDATE storage SET files = files - gone.files, bytes = bytes - gone.bytes WHERE tenant = gone.tenant AND purpose = 'upload_part';
	END LOOP;
	RETURN NULL;
END $$;
CREATE TRIGGER parts_over AFTER UPDATE ON upload_parts REFERENCING OLD TABLE AS earlier NEW TABLE AS later
	FOR EACH STATEMENT EXECUTE FUNCTION parts_over();
