-- What each gateway does. A version without roles does everything.
ALTER TABLE gateways ADD COLUMN role TEXT NOT NULL DEFAULT 'all';
