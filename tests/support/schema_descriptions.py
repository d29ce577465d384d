"""Descriptions of the schema of a database, to compare it before and after migrations."""

import asyncpg

_DESCRIBE_SCHEMA = """
SELECT 'column', table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable,
       column_default, character_maximum_length, is_identity, generation_expression)
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'function', proname, pg_get_functiondef(oid)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'parameters', relname, reloptions::text
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
ORDER BY 1, 2
"""


async def describe_schema(url: str) -> list[tuple[str, ...]]:
    """Return the columns, indexes, constraints, functions and storage parameters of a database."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(_DESCRIBE_SCHEMA)]
    finally:
        await connection.close()
