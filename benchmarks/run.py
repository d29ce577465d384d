"""Runs the parts of the benchmark one after the other, and stores their results as they come."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from benchmarks.arrivals import measure_arrivals
from benchmarks.closed_loop import run_trials
from benchmarks.contestants import installed_contestants
from benchmarks.dataset import Dataset
from benchmarks.equality import check_responses, check_tokens
from benchmarks.experiment import Experiment
from benchmarks.fleet import Site, measure_round_trip, record_problem, running_fleet
from benchmarks.forms import PRODUCTION, Form
from benchmarks.operations import Operation
from benchmarks.process_sizes import measure_process_sizes
from benchmarks.registrations import measure_registrations
from benchmarks.results import Results
from benchmarks.schedule import Parts
from benchmarks.trials import LoadGenerator


@dataclass(frozen=True)
class Run:
    """A run of the benchmark, which adds measurements to `results`.

    Args:
        site: Where the servers run.
        data: The rows in the database.
        load_generator: Sends the requests.
        operations: The operations of the closed loop.
        results: The results, which already have the plan and the environment.
        file: The file in which the results are stored after each part, so that a run that is
            interrupted does not lose them.
    """

    site: Site
    data: Dataset
    load_generator: LoadGenerator
    operations: Sequence[Operation]
    results: Results
    file: Path
    _started_at: float = field(default_factory=monotonic)

    def measure(self, parts: Parts) -> None:
        """Measure all parts. The open loop uses the servers of the form `production`."""
        forms = list(parts.forms)
        if parts.open_loop and PRODUCTION not in forms:
            forms.append(PRODUCTION)
        for form in forms:
            try:
                self._measure_form(form, parts)
            except Exception as error:  # noqa: BLE001 - the other parts may still succeed
                record_problem(self.results.problems, form, "all servers", error)
                self._store()
        if parts.process_sizes:
            self._measure_process_sizes()

    def _measure_form(self, form: Form, parts: Parts) -> None:
        """Run all servers in a form, and measure what is to be measured in it."""
        contestants = installed_contestants()
        with running_fleet(self.site, form, contestants, self.results.problems) as fleet:
            round_trip = asyncio.run(measure_round_trip(fleet.database_url))
            self.results.round_trips[form.name] = round(round_trip, 3)
            experiment = Experiment(
                form,
                self.results.plan,
                self.load_generator,
                self.site.url,
                self.data,
                fleet.entries,
                self.results.problems,
            )
            if form in parts.forms:
                self._measure_closed_loop(experiment)
            if parts.open_loop and form == PRODUCTION:
                self._measure_open_loop(experiment)

    def _measure_process_sizes(self) -> None:
        try:
            for memory in measure_process_sizes(self.site, self.data, self.load_generator):
                self.results.memory.append(memory)
                self._report(f"memory {memory.server} {memory.processes}: {memory.pss:.0f} MiB")
        except RuntimeError as error:
            self.results.problems["process sizes"] = str(error)
        self._store()

    def _measure_closed_loop(self, experiment: Experiment) -> None:
        """Check that the servers do the same work, and measure all operations."""
        check_tokens(experiment)
        for operation in self.operations:
            check_responses(experiment, operation)
        for operation in self.operations:
            for trial in run_trials(experiment, operation):
                self.results.trials.append(trial)
                self._report(
                    f"{trial.form} {trial.operation} {trial.server} {trial.concurrency}: "
                    f"{trial.rate:.0f}/s"
                )
            self._store()
        if not experiment.form.is_production:
            self.results.registrations.extend(measure_registrations(experiment))
            self._store()

    def _measure_open_loop(self, experiment: Experiment) -> None:
        check_tokens(experiment)
        for trial in measure_arrivals(experiment):
            self.results.open_loop.append(trial)
            self._report(
                f"open loop {trial.server} {trial.load:.0%} of {trial.capacity:.0f}/s: "
                f"p50 {trial.p50:.1f} ms, p99.9 {trial.p999:.1f} ms"
            )
        self._store()

    def _store(self) -> None:
        self.results.write(self.file)

    def _report(self, text: str) -> None:
        """Print a line of progress after the minutes and seconds since the start."""
        minutes, seconds = divmod(int(monotonic() - self._started_at), 60)
        print(f"{minutes:02}:{seconds:02} {text}", file=sys.stderr, flush=True)
