"""The setup that several benchmarks share: cores, a database with rows, a load generator."""

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
    """A database with rows and a load generator, with which servers are measured."""

    layout: cores.CoreLayout
    directory: Path
    url: str
    data: Dataset
    load_generator: LoadGenerator
    _stack: ExitStack

    def serve(self, name: str, command: tuple[str, ...], **environment: str) -> Server:
        """Start a server that uses the database, and that runs until the bench is closed.

        `command` are the arguments of `python -m`, `environment` are environment variables.
        """
        server = running_module(
            name,
            command,
            cores=self.layout.server,
            directory=self.directory,
            database_url=self.url,
            environment=environment,
        )
        return self._stack.enter_context(server)


@contextmanager
def open_bench(revision: str = "head") -> Iterator[Bench]:
    """Start Postgres and the load generator, and stop them when the block ends.

    `revision` is that of the database schema.
    """
    layout = cores.choose_layout()
    with (
        TemporaryDirectory(prefix="bookshelf-bench-") as directory_name,
        dataset.running_database(Path(directory_name), layout, revision=revision) as (url, data),
        running_load_generator(layout) as load_generator,
        ExitStack() as stack,
    ):
        yield Bench(layout, Path(directory_name), url, data, load_generator, stack)
