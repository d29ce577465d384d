"""The commands about the scheduled jobs."""

import asyncio
from typing import Annotated

import typer

from app.cli import start
from app.core.jobs import EPOCH, JobRuns
from app.settings import Settings
from app.worker import JOBS, opened

NAMES = ", ".join(job.name for job in JOBS)
group = typer.Typer(help="The scheduled jobs.", no_args_is_help=True)


@group.command()
def run(name: Annotated[str, typer.Argument(help=f"One of {NAMES}.")]) -> None:
    """Run a scheduled job now, whether or not it is due."""
    found = next((job for job in JOBS if job.name == name), None)
    if found is None:
        start.fail(f"there is no job {name}; there is {NAMES}")

    async def work(connected: Settings) -> str | None:
        async with opened(connected) as parts:
            return await found.run(parts.database, parts, anyway=True)

    with start.ready(start.parts) as connected:
        said = start.run(work(connected))
    typer.echo(said or start.fail(f"another process is at {name}"))


@group.command(name="list")
def list_jobs() -> None:
    """Show every job, how often it is due, and what its last run did."""

    async def last(connected: Settings) -> dict[str, str]:
        async with opened(connected) as parts:
            rows = await JobRuns(parts.database.reads).last()
            return {
                row["name"]: f"{row['finished_at']:%Y-%m-%d %H:%M:%SZ}  {row['outcome']}"
                for row in rows
            }

    with start.ready(start.parts, quiet=True) as connected:
        runs = asyncio.run(last(connected))
    for job in JOBS:
        typer.echo(f"{job.name:<15} every {job.every}  {runs.get(job.name, 'never')}")


@group.command()
def check() -> None:
    """Fail when a job is overdue: no worker has done it for longer than between two times."""

    async def overdue(connected: Settings) -> list[str]:
        async with start.transaction(connected) as session:
            ticks = {row["name"]: row["tick"] for row in await JobRuns(session).last()}
        return [job.name for job in JOBS if ticks.get(job.name, EPOCH) < job.tick() - job.every]

    with start.ready(start.database, quiet=True) as connected:
        if names := start.run(overdue(connected)):
            start.fail(f"overdue: {', '.join(names)}")
    typer.echo("Every job is done at its times.")
