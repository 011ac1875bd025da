#!/bin/sh
# Make the database and the logins of jobtrail in a PostgreSQL, as its administrator: the image
# `postgres` runs it when it creates its data; for any other server, set PGHOST, PGPORT, PGPASSWORD and
# POSTGRES_USER. The passwords come from postgres.env of make-secrets.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --set owner="$OWNER_PASSWORD" --set reader="$READER_PASSWORD" \
    --set console="$CONSOLE_PASSWORD" \
    --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
CREATE ROLE jobtrail_owner LOGIN PASSWORD :'owner' CREATEROLE;
-- For an administrator who is no superuser, as on managed servers: who creates the database for a role
-- must be a member of it.
GRANT jobtrail_owner TO CURRENT_USER;
-- The role of the API, before its migration: the reader can be made a member at once.
CREATE ROLE jobtrail_api NOLOGIN;
GRANT jobtrail_api TO jobtrail_owner WITH ADMIN OPTION;
CREATE ROLE jobtrail_reader LOGIN PASSWORD :'reader' IN ROLE jobtrail_api;
-- The console's. After the migration, grant it jobtrail_ops to read all tenants' rows.
CREATE ROLE jobtrail_console LOGIN PASSWORD :'console' IN ROLE jobtrail_api;
ALTER ROLE jobtrail_reader SET statement_timeout = '5s';
CREATE DATABASE jobtrail OWNER jobtrail_owner;
SQL
