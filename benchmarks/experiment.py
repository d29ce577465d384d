"""The running servers of one form that are measured together."""

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.contestants import Contestant
from benchmarks.dataset import Dataset
from benchmarks.fleet import Entry, record_problem
from benchmarks.forms import Form
from benchmarks.measurements import Plan
from benchmarks.operations import Operation
from benchmarks.results import SERVICE
from benchmarks.trials import LoadGenerator
from benchmarks.wire import add_token


@dataclass(frozen=True)
class Experiment:
    """The running servers of one form, which use the same database, and the load generator.

    `problems` gets the reasons why servers have been removed from `entries`.
    """

    form: Form
    plan: Plan
    load_generator: LoadGenerator
    url: str
    data: Dataset
    entries: list[Entry]
    problems: dict[str, str] = field(default_factory=dict)

    def requests(self, operation: Operation, entry: Entry) -> list[bytes]:
        """Return the requests of an operation for one server."""
        contestant, server = entry
        requests = operation.requests(contestant, server, self.data)
        return [add_token(request, server.token) for request in requests]

    @contextmanager
    def keeping_others(self, contestant: Contestant) -> Iterator[None]:
        """Remove a server from the experiment if the block fails, so that the others go on.

        This service is not removed, because without it there is nothing to compare.
        """
        try:
            yield
        except BrokenExecutor:
            # The load generator is gone, so no other server could be measured.
            raise
        except Exception as error:  # noqa: BLE001 - a peer may fail in any way
            record_problem(self.problems, self.form, contestant.name, error)
            if contestant.name != SERVICE:
                self.entries[:] = [entry for entry in self.entries if entry[0] != contestant]
