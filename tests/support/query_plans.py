"""The plans that Postgres chooses for the statements of the service."""

from collections.abc import Iterator
from typing import Any

from app.core.db import Database

PlanNode = dict[str, Any]


async def explain(
    database: Database, statement: str, parameters: Any, options: str = "FORMAT JSON"
) -> list[PlanNode]:
    """Return the nodes of the plan that Postgres chooses for a statement, the root first."""
    async with database.engine.connect() as connection:
        result = await connection.exec_driver_sql(f"EXPLAIN ({options}) {statement}", parameters)
        [explanation] = result.scalars().one()
    return list(list_nodes(explanation["Plan"]))


def list_nodes(node: PlanNode) -> Iterator[PlanNode]:
    """Yield a node of a plan and all nodes below it.

    Nodes that collect an embedded list for each row are left out.
    """
    yield node
    for child in node.get("Plans", ()):
        is_embedded_list = (
            child["Node Type"] == "Aggregate" and child["Parent Relationship"] == "Inner"
        )
        if not is_embedded_list:
            yield from list_nodes(child)
