"""The commands `jobs run`, `jobs list` and `jobs check`."""

import asyncio
from typing import Annotated

import typer

from app.cli import runtime
from app.core.jobs import EPOCH, JobRunRepository
from app.settings import Settings
from app.worker import JOBS, open_job_context

JOB_NAMES = ", ".join(job.name for job in JOBS)
group = typer.Typer(help="Run and monitor the scheduled jobs.", no_args_is_help=True)


@group.command()
def run(name: Annotated[str, typer.Argument(help=f"One of {JOB_NAMES}.")]) -> None:
    """Run a scheduled job now, whether or not it is due."""
    job = next((job for job in JOBS if job.name == name), None)
    if job is None:
        runtime.fail(f"there is no job named {name}; the jobs are {JOB_NAMES}")

    async def run_job(settings: Settings) -> str | None:
        async with open_job_context(settings) as context:
            return await job.run(context.database, context, even_if_done=True)

    with runtime.prepare_backends(runtime.provide_backends) as settings:
        outcome = runtime.run_or_fail(run_job(settings))
    if outcome is None:
        runtime.fail(f"another process is already running {name}; try again later")
    typer.echo(outcome)


@group.command(name="list")
def list_jobs() -> None:
    """List all jobs with their interval, and the time (UTC) and the outcome of the last run."""

    async def read_last_runs(settings: Settings) -> dict[str, str]:
        async with open_job_context(settings) as context:
            rows = await JobRunRepository(context.database.reads).list_last_runs()
            return {
                row["name"]: f"{row['finished_at']:%Y-%m-%d %H:%M:%SZ}  {row['outcome']}"
                for row in rows
            }

    with runtime.prepare_backends(runtime.provide_backends, quiet=True) as settings:
        last_runs = asyncio.run(read_last_runs(settings))
    for job in JOBS:
        typer.echo(f"{job.name:<15} every {job.interval}  {last_runs.get(job.name, 'never')}")


@group.command()
def check() -> None:
    """Exit with code 1 if a job is overdue, for example because no worker is running.

    A job is overdue if its last run is more than one interval late.
    """

    async def find_overdue_jobs(settings: Settings) -> list[str]:
        async with runtime.open_transaction(settings) as session:
            last_ticks = {
                row["name"]: row["tick"] for row in await JobRunRepository(session).list_last_runs()
            }
        return [
            job.name
            for job in JOBS
            if last_ticks.get(job.name, EPOCH) < job.latest_tick() - job.interval
        ]

    with runtime.prepare_backends(runtime.provide_database, quiet=True) as settings:
        overdue_jobs = runtime.run_or_fail(find_overdue_jobs(settings))
    if overdue_jobs:
        runtime.fail(f"jobs are overdue: {', '.join(overdue_jobs)}; check that a worker is running")
    typer.echo("No job is overdue.")
