"""Metrics of the scheduled jobs, and of what they find."""

from datetime import datetime, timedelta
from typing import Final

from app.core.observability._instruments import Counter, Gauge

# The values of the label `outcome`.
DONE: Final = "done"
FAILED: Final = "failed"
CUT_SHORT: Final = "cut short"

# Not "job", because Prometheus gives each metric a label of this name, and would rename ours.
_JOB_RUNS: Final = Counter("job_runs", "Runs of scheduled jobs", ("job_name", "outcome"))
# Timestamps instead of ages, because an age would be wrong if the worker could not update it.
_LAST_SUCCESS: Final = Gauge(
    "job_last_success_timestamp_seconds",
    "When the last successful run of a job ended",
    ("job_name",),
    multiprocess_mode="livemax",
)
_DUE: Final = Gauge(
    "job_due_timestamp_seconds",
    "When a job has to run next. It is late if this time has passed",
    ("job_name",),
    multiprocess_mode="livemax",
)
_LAST_RUN_FAILED: Final = Gauge(
    "job_last_run_failed",
    "1 if the last run of a job failed, otherwise 0",
    ("job_name",),
    multiprocess_mode="livemax",
)
_INTERVAL: Final = Gauge(
    "job_interval_seconds",
    "Time between two runs of a job",
    ("job_name",),
    multiprocess_mode="livemax",
)
# The label keeps processes that have not counted the objects from exporting 0.
UNKNOWN_OBJECTS: Final = Gauge(
    "unknown_objects",
    "Objects in the object store without a row in the database, when the store was last audited",
    ("prefix",),
    multiprocess_mode="livemax",
)


def export_job(job_name: str, interval: timedelta) -> None:
    """Export the interval of a job, and 0 runs of it with each outcome.

    Prometheus does not see the first run of a counter that begins with 1 as an increase.
    """
    _INTERVAL.labels(job_name).set(interval.total_seconds())
    for outcome in (DONE, FAILED, CUT_SHORT):
        _JOB_RUNS.labels(job_name, outcome)


def count_job_run(job_name: str, outcome: str) -> None:
    """Count a run of a job in this process. `outcome` is one of the constants of this module."""
    _JOB_RUNS.labels(job_name, outcome).inc()


def export_last_run(
    job_name: str, finished_at: datetime, next_due_at: datetime, *, has_failed: bool
) -> None:
    """Export the last run of a job in any process.

    After a failed run, the time of the last success stays as it was when it was last known.
    """
    _DUE.labels(job_name).set(next_due_at.timestamp())
    _LAST_RUN_FAILED.labels(job_name).set(has_failed)
    if not has_failed:
        _LAST_SUCCESS.labels(job_name).set(finished_at.timestamp())
