-- Creates two roles, so that the service cannot change its own schema: `bookshelf_owner` runs the
-- migrations and owns the tables. `bookshelf_app` is for servers, workers and other commands.
--
-- Run it while connected to the database of the service, as a superuser, or as a role with
-- CREATEROLE that owns the database. It can be repeated. docs/operations/database.md describes all
-- steps.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bookshelf_owner') THEN
        CREATE ROLE bookshelf_owner LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bookshelf_app') THEN
        CREATE ROLE bookshelf_app LOGIN;
    END IF;
    -- `import books` uses a temporary table. Everybody may create some by default.
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO bookshelf_app', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO bookshelf_owner', current_database());
END
$$;
-- These apply behind PgBouncer, where the service cannot set them itself: the default of
-- DB_STATEMENT_TIMEOUT, half of it, and no workers for a single statement.
ALTER ROLE bookshelf_app SET statement_timeout = '5s';
ALTER ROLE bookshelf_app SET lock_timeout = '2500ms';
ALTER ROLE bookshelf_app SET max_parallel_workers_per_gather = 0;

-- Databases of Postgres 14 and older allow everybody to create tables, also after an upgrade.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO bookshelf_owner;
GRANT USAGE ON SCHEMA public TO bookshelf_app;

-- A role that is not a superuser needs this to grant privileges on the tables of the owner.
GRANT bookshelf_owner TO CURRENT_USER;
SET ROLE bookshelf_owner;
-- Alembic stores the revision of the schema in this table. Its columns are those that Alembic
-- would create. It exists before the default privileges, because the service only reads it.
CREATE TABLE IF NOT EXISTS alembic_version (
    version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
);
-- The privileges on all tables that migrations will create.
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bookshelf_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO bookshelf_app;
-- The privileges on the tables that migrations have created already.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO bookshelf_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO bookshelf_app;
REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM bookshelf_app;
RESET ROLE;
