"""The results of a drill: what each scenario measured, and which requirements are not met."""

from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from drills.load import Load, find_lost_and_duplicated

CATALOG_PATH: Final = "/authors?size=5&count=none"
REPORT_PATH: Final = "/reports/user-counts"
MAX_SECONDS_WITHOUT_WRITES: Final = 5.0
MAX_SECONDS_WITHOUT_READS: Final = 1.0


@dataclass
class Drill:
    """Collects the results of the scenarios, and prints each as soon as it is known."""

    load: Load
    failures: list[str] = field(default_factory=list)

    def report(self, text: str) -> None:
        """Print one result."""
        print(f"  {text}", flush=True)

    def require(self, condition: bool, requirement: str) -> None:  # noqa: FBT001
        """Print a requirement, and remember it if it is not met."""
        self.report(f"{'ok    ' if condition else 'FAILED'} {requirement}")
        if not condition:
            self.failures.append(requirement)

    def require_writes_since(self, event: str, time: float) -> None:
        """Require that writes have succeeded soon after an event at a time."""
        seconds = self.load.first_write_after(time)
        text = "never" if seconds is None else f"after {seconds:.2f} s"
        is_soon = seconds is not None and seconds < MAX_SECONDS_WITHOUT_WRITES
        self.require(
            is_soon, f"first write after {event}: {text} (at most {MAX_SECONDS_WITHOUT_WRITES:g} s)"
        )

    def require_reads_since(self, start: float) -> None:
        """Require that the catalog was served all the time, and print the same for reports."""
        pause = self.load.longest_pause(CATALOG_PATH, start, monotonic())
        self.require(
            pause < MAX_SECONDS_WITHOUT_READS,
            f"{_describe_pause(CATALOG_PATH, pause)} (at most {MAX_SECONDS_WITHOUT_READS:g} s)",
        )
        pause = self.load.longest_pause(REPORT_PATH, start, monotonic())
        self.report(_describe_pause(REPORT_PATH, pause))

    def report_reads_since(self, start: float) -> None:
        """Print the longest times without a successful read since a time."""
        for path in (CATALOG_PATH, REPORT_PATH):
            pause = self.load.longest_pause(path, start, monotonic())
            self.report(_describe_pause(path, pause))

    async def check_writes(self, database_url: str) -> None:
        """Compare what clients were told with what the database contains."""
        load = self.load
        lost, duplicated = await find_lost_and_duplicated(load, database_url)
        self.report(
            f"{len(load.acknowledged)} acknowledged writes, {load.replayed} of them replayed,"
            f" {load.write_retries.total()} retries {dict(load.write_retries)}"
        )
        self.report(f"failed reads, which were repeated: {dict(load.read_failures)}")
        if load.report_ages:
            self.report(f"age of the data of reports: at most {max(load.report_ages):.1f} s")
        self.require(not lost, f"{len(lost)} lost writes {lost[:3]}")
        self.require(not duplicated, f"{len(duplicated)} duplicated writes {duplicated[:3]}")
        self.require(not load.given_up, f"{len(load.given_up)} failed writes {load.given_up[:3]}")


def _describe_pause(path: str, seconds: float) -> str:
    return f"longest time without a response to {path.partition('?')[0]}: {seconds:.2f} s"
