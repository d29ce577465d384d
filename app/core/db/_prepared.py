"""Statements that are built once: compiled once as well, and then run by the driver itself.

SQLAlchemy's own execution takes a fifth of a read's time, and would convert the values that a
driver cannot. What needs that is refused here, and is for a session's `rows`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import ReturningDelete

_DIALECT: Final = dialect()  # type: ignore[no-untyped-call]
Convert = Callable[[Any], Any]


@dataclass(eq=False)
class Prepared:
    """A statement whose parameters have names, and whose rows need no conversion."""

    executable: sa.Select[Any] | ReturningDelete[Any]

    @cached_property
    def sql(self) -> str:
        """Its text, with `$1`, `$2` and so on."""
        for column in self.executable.exported_columns:
            if column.type.dialect_impl(_DIALECT).result_processor(_DIALECT, 0):
                raise TypeError(f"{column}: the driver does not convert {column.type!r}")
        return str(self._compiled)

    def arguments(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The values of `$1`, `$2` and so on."""
        values = {**self._given, **parameters}
        return [
            values[name] if convert is None else convert(values[name])
            for name, convert in self._positions
        ]

    @cached_property
    def _given(self) -> dict[str, Any]:
        """The values that are part of the statement."""
        bound = self._compiled.binds
        return {n: v for n, v in self._compiled.params.items() if not bound[n].required}

    @cached_property
    def _positions(self) -> list[tuple[str, Convert | None]]:
        bound = self._compiled.binds
        return [
            (name, bound[name].type.dialect_impl(_DIALECT).bind_processor(_DIALECT))
            for name in self._compiled.positiontup or ()
        ]

    @cached_property
    def _compiled(self) -> SQLCompiler:
        compiled = self.executable.compile(dialect=_DIALECT)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - it is no DDL
        return compiled
