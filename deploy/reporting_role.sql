-- Creates the role `bookshelf_reports`, which can only read the tables of reports, for
-- REPORTING_DATABASE_URL. Run it like roles.sql, after the first migration. It can be repeated.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bookshelf_reports') THEN
        CREATE ROLE bookshelf_reports LOGIN;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO bookshelf_reports', current_database());
END
$$;
ALTER ROLE bookshelf_reports SET default_transaction_read_only = on;
ALTER ROLE bookshelf_reports SET statement_timeout = '5s';
GRANT USAGE ON SCHEMA public TO bookshelf_reports;

GRANT bookshelf_owner TO CURRENT_USER;
SET ROLE bookshelf_owner;
GRANT SELECT ON user_counts TO bookshelf_reports;
RESET ROLE;
