"""The parts of a run of `python -m benchmarks`: how long they take, and what failures change."""

import subprocess
import sys

import psutil
import pytest

from benchmarks.contestants import CONTESTANTS, PEER_PYTHON
from benchmarks.dataset import Dataset
from benchmarks.experiment import Experiment
from benchmarks.forms import FORMS, PLAIN, POOL_SIZE, PRODUCTION, Form
from benchmarks.log_reader import reading_log
from benchmarks.measurements import Plan
from benchmarks.operations import all_operations
from benchmarks.process_memory import shared_memory_bytes
from benchmarks.schedule import FULL_PLAN, QUICK_PLAN, choose_parts, estimate_seconds
from benchmarks.wire import add_token, encode_request

OPERATIONS = list(all_operations(0).values())
EVERYTHING = choose_parts(None, only_open_loop=False)


def make_experiment(problems: dict[str, str]) -> Experiment:
    """Return an experiment with the contestants, whose servers and load generator do not run."""
    entries = [(contestant, None) for contestant in CONTESTANTS]
    data = Dataset([], [], {})
    return Experiment(PRODUCTION, FULL_PLAN, None, "", data, entries, problems)  # type: ignore[arg-type]


def time_out() -> None:
    """Raise the error of a server that does not respond."""
    raise TimeoutError("no response")


@pytest.mark.parametrize(("plan", "minutes"), [(FULL_PLAN, 30), (QUICK_PLAN, 4)])
def test_run_ends_in_time(plan: Plan, minutes: float) -> None:
    seconds = estimate_seconds(EVERYTHING, plan, OPERATIONS, len(CONTESTANTS))
    assert seconds < minutes * 60


def test_full_run_has_five_rounds() -> None:
    assert FULL_PLAN.rounds >= 5
    assert FULL_PLAN.usual == 16


@pytest.mark.parametrize("form", FORMS)
def test_one_form_can_be_selected(form: Form) -> None:
    parts = choose_parts(form.name, only_open_loop=False)
    assert parts.forms == (form,)
    assert not parts.open_loop
    everything = estimate_seconds(EVERYTHING, FULL_PLAN, OPERATIONS, 8)
    assert estimate_seconds(parts, FULL_PLAN, OPERATIONS, 8) < everything


def test_open_loop_can_be_selected_alone_and_with_a_form() -> None:
    assert choose_parts(None, only_open_loop=True).forms == ()
    parts = choose_parts("production", only_open_loop=True)
    assert parts.forms == (PRODUCTION,)
    assert parts.open_loop


def test_processes_of_a_server_share_the_connections_to_the_database() -> None:
    for form in FORMS:
        environment = form.environment(metrics_port=0)
        assert int(environment["POOL_SIZE"]) * form.processes == POOL_SIZE


def test_service_requires_tokens_and_logs_requests_only_in_production() -> None:
    assert "ANONYMOUS_ACCESS" not in PLAIN.environment(metrics_port=0)
    environment = PRODUCTION.environment(metrics_port=9090)
    assert environment["ANONYMOUS_ACCESS"] == "none"
    assert environment["LOG_FORMAT"] == "json"
    assert environment["METRICS_PORT"] == "9090"


def test_peers_on_uvicorn_log_requests_only_in_production() -> None:
    [contestant] = [peer for peer in CONTESTANTS if peer.name == "Django Ninja"]
    assert "--access-log" not in contestant.command(PLAIN)
    command = contestant.command(PRODUCTION)
    assert command[0] == str(PEER_PYTHON)
    assert command[-3:] == ("--workers=2", "--access-log", "--log-level=info")


def test_failure_of_a_peer_leaves_out_only_this_peer() -> None:
    problems: dict[str, str] = {}
    experiment = make_experiment(problems)
    failing_peer = CONTESTANTS[1]
    with experiment.keeping_others(failing_peer):
        time_out()
    assert problems == {f"production, {failing_peer.name}": "TimeoutError: no response"}
    names = [contestant.name for contestant, _ in experiment.entries]
    assert names == [peer.name for peer in CONTESTANTS if peer != failing_peer]


def test_failure_of_this_service_is_recorded_without_leaving_it_out() -> None:
    problems: dict[str, str] = {}
    experiment = make_experiment(problems)
    with experiment.keeping_others(CONTESTANTS[0]):
        time_out()
    assert list(problems) == ["production, bookshelf"]
    assert len(experiment.entries) == len(CONTESTANTS)


def test_lines_of_a_log_are_counted_while_the_process_runs() -> None:
    program = "for number in range(10_000): print('line', number, flush=True)\ninput()"
    with reading_log(frozenset()) as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=log.write_end,
            stderr=log.write_end,
        )
        assert log.wait_for_lines(10_000)
        process.communicate(b"\n")
    assert log.line_count == 10_000
    assert log.last_lines.endswith("line 9999\n")


def test_token_is_added_to_the_head_of_a_request() -> None:
    body = b'{"name": "\\r\\n\\r\\n"}'
    request = encode_request("POST /authors", body)
    head, _, rest = add_token(request, "secret").partition(b"\r\n\r\n")
    assert head.endswith(b"\r\nAuthorization: Bearer secret")
    assert rest == body
    assert add_token(request, "") == request


def test_shared_memory_is_less_than_the_resident_memory() -> None:
    process = psutil.Process()
    assert 0 < shared_memory_bytes([process]) <= process.memory_info().rss
