"""The classes of metrics, whose values are right in processes that are forked after the import.

prometheus_client decides when it is imported whether a metric of this process is a number in its
memory, or in a file that the metrics of several processes are read from. A process that is going to
fork others knows that only later.
"""

import os
from functools import cache
from threading import Lock
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.values import MultiProcessValue, MutexValue

# prometheus_client reads this variable. If it is set, the metrics of several processes are added
# up: each process writes its values to files in the directory that the variable names.
DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
METHODS: Final = ("inc", "set", "get", "set_exemplar", "get_exemplar")
_creation_lock: Final = Lock()
_unused_values: "Final[set[_DeferredValue]]" = set()

__all__ = ["DIRECTORY_VARIABLE", "Counter", "Gauge", "Histogram", "create_initial_values"]


def create_initial_values() -> None:
    """Give the metrics without labels their initial value 0, so that they are exported."""
    for value in list(_unused_values):
        value.inc(0)


class _DeferredValue:
    """A value of a metric that becomes one of prometheus_client's values when it is first used."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._arguments = arguments
        self._options = options
        _unused_values.add(self)

    def __getattr__(self, name: str) -> Any:
        """Create the value. Python calls this only for an attribute that does not exist yet."""
        if name not in METHODS:
            raise AttributeError(name)
        with _creation_lock:
            # Another thread may have created the value meanwhile.
            if name not in self.__dict__:
                value = _choose_value_class()(*self._arguments, **self._options)
                # Later calls go directly to the value.
                self.__dict__.update({method: getattr(value, method) for method in METHODS})
                _unused_values.discard(self)
        return self.__dict__[name]


def _choose_value_class() -> type:
    """Return the class of values in this process."""
    return _shared_value_class() if DIRECTORY_VARIABLE in os.environ else MutexValue


@cache
def _shared_value_class() -> type:
    """Return the class of values in files. It notices a fork, and then writes to other files."""
    value_class: type = MultiProcessValue()
    return value_class


values.ValueClass = _DeferredValue
