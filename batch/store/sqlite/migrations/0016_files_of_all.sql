-- Lists of the files of all tenants with a purpose.
CREATE INDEX files_all_purpose ON files (purpose, seq) WHERE deleted_at IS NULL;
