"""The commands `jobs run`, `jobs list` and `jobs check`."""

from datetime import datetime
from typing import Annotated

import typer

from app.cli import runtime
from app.core.db import Row, TransactionSession
from app.core.jobs import Job, JobFailed, JobRunRepository
from app.settings import Settings
from app.worker import JOBS, JobContext, open_job_context

JOB_NAMES = ", ".join(job.name for job in JOBS)
group = typer.Typer(help="Run and monitor the scheduled jobs.", no_args_is_help=True)


@group.command()
def run(
    job_name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {JOB_NAMES}.")],
) -> None:
    """Run a scheduled job now, whether or not it is due."""
    jobs_by_name = {job.name: job for job in JOBS}
    job = jobs_by_name.get(job_name)
    if job is None:
        runtime.fail(f"unknown job {job_name}: the jobs are {JOB_NAMES}")
    settings = runtime.load_settings()
    with (
        runtime.prepare_database(settings) as database_settings,
        runtime.provide_object_store(database_settings) as complete_settings,
    ):
        try:
            outcome = runtime.run_or_fail(_run_job(job, complete_settings))
        except JobFailed as error:
            runtime.fail(f"{job_name} failed: {error}")
    if outcome is None:
        runtime.fail(f"another process is already running {job_name}; try again later")
    typer.echo(outcome)


@group.command(name="list")
def list_jobs() -> None:
    """List all jobs: how often they run, when the last run ended (UTC), and its outcome."""
    last_runs = runtime.run_in_transaction(_read_last_runs)
    for job in JOBS:
        last_run = last_runs.get(job.name)
        summary = "never"
        if last_run is not None:
            summary = f"{last_run['finished_at']:%Y-%m-%d %H:%M:%SZ}  {last_run['outcome']}"
        typer.echo(f"{job.name:<15} every {job.interval}  {summary}")


@group.command()
def check() -> None:
    """Exit with code 1 if a job is overdue, for example because no worker is running.

    A job is overdue if it has missed its last two due times. If it has missed only the last one,
    its run may still be in progress. A job that is running for the first time is not overdue.
    """
    overdue_jobs = runtime.run_in_transaction(_find_overdue_jobs)
    if overdue_jobs:
        runtime.fail(f"jobs are overdue: {', '.join(overdue_jobs)}; check that a worker is running")
    typer.echo("No job is overdue.")


async def _run_job(job: Job[JobContext], settings: Settings) -> str | None:
    """Run a job even if it is not due, and return its outcome, such as "3 tokens deleted".

    Returns None without running the job if another process is running it now.
    """
    async with open_job_context(settings) as context:
        return await job.run(context.database, context, even_if_done=True)


async def _read_last_runs(session: TransactionSession) -> dict[str, Row]:
    """Return the last run of each job by the name of the job. A job that never ran is missing.

    For example `{"sweep-tokens": {"tick": ..., "finished_at": ..., "outcome": "..."}}`. The tick is
    the time at which the job was due.
    """
    rows = await JobRunRepository(session).list_last_runs()
    return {row["name"]: row for row in rows}


async def _find_overdue_jobs(session: TransactionSession) -> list[str]:
    """Return the names of the jobs that are overdue."""
    last_runs = await _read_last_runs(session)
    overdue_jobs = []
    for job in JOBS:
        last_run = last_runs.get(job.name)
        # The first run of a job may take long, and the check must not restart its worker.
        is_first_run = last_run is None and await JobRunRepository(session).is_running(job.name)
        if not is_first_run and _is_overdue(job, last_run):
            overdue_jobs.append(job.name)
    return overdue_jobs


def _is_overdue(job: Job[JobContext], last_run: Row | None) -> bool:
    """Return whether a job has missed its last two due times.

    A job that has missed only the last one may be running at this moment. For example, a job that
    is due at 12:00 and 12:10 is overdue at 12:17 if its last run was due at 11:50 or earlier.
    """
    if last_run is None:
        return True
    last_run_due_time: datetime = last_run["tick"]
    second_last_due_time = job.latest_tick() - job.interval
    return last_run_due_time < second_last_due_time
