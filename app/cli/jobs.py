"""The commands `jobs run`, `jobs list` and `jobs check`."""

import asyncio
from typing import Annotated

import typer

from app.cli import runtime
from app.core.jobs import EPOCH, JobRunRepository
from app.settings import Settings
from app.worker import JOBS, open_job_context

NAMES = ", ".join(job.name for job in JOBS)
group = typer.Typer(help="The scheduled jobs.", no_args_is_help=True)


@group.command()
def run(name: Annotated[str, typer.Argument(help=f"One of {NAMES}.")]) -> None:
    """Run a scheduled job now, whether or not it is due."""
    job = next((job for job in JOBS if job.name == name), None)
    if job is None:
        runtime.fail(f"there is no job {name}; there is {NAMES}")

    async def work(connected: Settings) -> str | None:
        async with open_job_context(connected) as context:
            return await job.run(context.database, context, even_if_done=True)

    with runtime.prepare(runtime.with_backends) as connected:
        outcome = runtime.run(work(connected))
    if outcome is None:
        runtime.fail(f"another process is at {name}")
    typer.echo(outcome)


@group.command(name="list")
def list_jobs() -> None:
    """Show every job, how often it is due, and what its last run did."""

    async def last(connected: Settings) -> dict[str, str]:
        async with open_job_context(connected) as context:
            rows = await JobRunRepository(context.database.reads).list_last_runs()
            return {
                row["name"]: f"{row['finished_at']:%Y-%m-%d %H:%M:%SZ}  {row['outcome']}"
                for row in rows
            }

    with runtime.prepare(runtime.with_backends, quiet=True) as connected:
        runs = asyncio.run(last(connected))
    for job in JOBS:
        typer.echo(f"{job.name:<15} every {job.interval}  {runs.get(job.name, 'never')}")


@group.command()
def check() -> None:
    """Fail when a job is overdue: no worker has run it for more than its interval."""

    async def overdue(connected: Settings) -> list[str]:
        async with runtime.transaction(connected) as session:
            ticks = {
                row["name"]: row["tick"] for row in await JobRunRepository(session).list_last_runs()
            }
        return [
            job.name
            for job in JOBS
            if ticks.get(job.name, EPOCH) < job.latest_tick() - job.interval
        ]

    with runtime.prepare(runtime.with_database, quiet=True) as connected:
        names = runtime.run(overdue(connected))
    if names:
        runtime.fail(f"overdue: {', '.join(names)}")
    typer.echo("Every job is done at its times.")
