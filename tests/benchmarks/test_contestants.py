"""The servers that the benchmarks compare do the same work."""

import asyncio
from pathlib import Path
from typing import Final

from benchmarks.closed_loop import run_trials
from benchmarks.contestants import CONTESTANTS
from benchmarks.cores import CoreLayout
from benchmarks.dataset import AUTHOR_COUNT, Dataset, create_token, load_dataset
from benchmarks.equality import check_responses, check_tokens
from benchmarks.experiment import Experiment
from benchmarks.fleet import Site, measure_round_trip, running_fleet
from benchmarks.forms import PRODUCTION
from benchmarks.measurements import Plan
from benchmarks.operations import all_operations
from benchmarks.trials import running_load_generator

# The servers that the environment of the tests can run.
SERVERS: Final = ("bookshelf", "tutorial", "limit")
LAYOUT: Final = CoreLayout(frozenset(), frozenset(), frozenset())
PLAN: Final = Plan(rounds=1, seconds=0.1, concurrency=[2], books=2 * AUTHOR_COUNT)
OPERATIONS: Final = all_operations(1_000)


async def test_servers_do_the_same_work_in_production(
    private_database_url: str, tmp_path: Path
) -> None:
    data = await load_dataset(private_database_url, PLAN.books)
    token = await create_token(private_database_url)
    site = Site(private_database_url, LAYOUT, tmp_path, token)
    # In a thread, because the benchmarks run event loops of their own.
    await asyncio.to_thread(compare_servers, site, data)


def compare_servers(site: Site, data: Dataset) -> None:
    """Run the servers, compare their responses, and measure one operation."""
    contestants = [contestant for contestant in CONTESTANTS if contestant.name in SERVERS]
    with (
        running_load_generator(LAYOUT) as load_generator,
        running_fleet(site, PRODUCTION, contestants) as fleet,
    ):
        experiment = Experiment(PRODUCTION, PLAN, load_generator, site.url, data, fleet.entries)
        check_tokens(experiment)
        for name in ("read_book", "list_authors", "list_books_0", "create_author"):
            check_responses(experiment, OPERATIONS[name])
        trials = list(run_trials(experiment, OPERATIONS["delete_author"]))
        round_trip = asyncio.run(measure_round_trip(fleet.database_url))
    assert experiment.problems == {}
    assert [trial.server for trial in trials] == list(SERVERS)
    for trial in trials:
        assert trial.rate > 0
        assert trial.failures == {}
    assert round_trip >= 1
