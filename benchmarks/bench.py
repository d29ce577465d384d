"""The setup that the comparisons of servers share: cores, a database with data, a generator."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import cores, dataset
from benchmarks.dataset import Dataset
from benchmarks.servers import Server, running_module
from benchmarks.trials import LoadGenerator, running_load_generator


@dataclass(frozen=True)
class Bench:
    """A loaded database, a generator of requests, and the servers that are started over them."""

    layout: cores.CoreLayout
    directory: Path
    url: str
    data: Dataset
    generate: LoadGenerator
    _stack: ExitStack

    def serve(self, name: str, command: tuple[str, ...], **environment: str) -> Server:
        """Start a server over the database. It runs until the bench is closed."""
        server = running_module(
            name,
            command,
            cores=self.layout.server,
            directory=self.directory,
            database_url=self.url,
            also=environment,
        )
        return self._stack.enter_context(server)


@contextmanager
def open_bench() -> Iterator[Bench]:
    """Open a bench for the duration of the block."""
    layout = cores.choose_layout()
    with (
        TemporaryDirectory(prefix="bookshelf-bench-") as name,
        dataset.running_database(directory := Path(name), layout) as (url, data),
        running_load_generator(layout) as generate,
        ExitStack() as stack,
    ):
        yield Bench(layout, directory, url, data, generate, stack)
