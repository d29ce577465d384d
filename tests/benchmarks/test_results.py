"""How `python -m benchmarks` stores its results, checks its targets, and updates the documents."""

from math import isnan
from pathlib import Path

import pytest

from benchmarks import page, report
from benchmarks.measurements import Memory, OpenLoopTrial, Plan, Registrations, Trial
from benchmarks.results import Results
from benchmarks.targets import compute_targets
from tests.support.processes import PROJECT_ROOT

RATES = {"bookshelf": 4_000.0, "tutorial": 400.0, "Fastify": 5_000.0, "limit": 10_000.0}
# The parts of the rates of `plain` that are reached in the form.
FORMS = {"plain": 1.0, "production": 0.5}


def make_trial(server: str, form: str, rate: float) -> Trial:
    """Return a trial with this rate, whose latencies follow from it."""
    return Trial(
        operation="read_book",
        server=server,
        concurrency=16,
        rate=rate,
        p50=16e3 / rate,
        p99=32e3 / rate,
        longest=64e3 / rate,
        cpu=1e6 / rate,
        busy=100.0,
        memory=80.0,
        failures={},
        form=form,
    )


@pytest.fixture
def results() -> Results:
    """Results with one operation in both forms, and all other measurements of this service."""
    results = Results(
        environment={"date": "2026-11-30", "machine": "2 cores", "packages": {"Python": "3.11"}},
        plan=Plan(1, 0.5, [16], 1_000, 2.0),
        ceiling=100_000.0,
        titles={"read_book": "GET /books/{id}"},
    )
    for form, factor in FORMS.items():
        for server, rate in RATES.items():
            results.trials.append(make_trial(server, form, rate * factor))
    for load in (0.5, 0.7, 0.9):
        results.open_loop.append(
            OpenLoopTrial("bookshelf", load, 2_000.0, 900, p50=2.0, p99=6.0, p999=14.0, failures={})
        )
    for processes, pss in ((1, 70.0), (2, 130.0), (4, 190.0)):
        results.memory.append(Memory("bookshelf", processes, pss))
    results.registrations.append(Registrations("bookshelf", 1.0, 2.0, 1.5, 4.0, 8.0, 25.0))
    results.round_trips["production"] = 1.1
    return results


def target_values(results: Results) -> dict[str, tuple[float, bool]]:
    """Return the value of each target, and whether it is reached."""
    return {
        target.description: (round(target.value, 3), target.is_reached)
        for target in compute_targets(results)
    }


def test_stored_results_are_read_again(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results


def test_results_of_a_run_that_has_just_begun_are_stored(results: Results, tmp_path: Path) -> None:
    begun = Results(results.environment, results.plan, results.ceiling, results.titles)
    begun.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == begun
    assert report.full_report(begun)


def test_committed_results_are_readable() -> None:
    committed = Results.read(PROJECT_ROOT / "benchmarks" / "results" / "results.json")
    assert report.full_report(committed)


def test_ratio_leaves_out_operations_without_trials_of_both_servers(results: Results) -> None:
    results.trials.append(make_trial("bookshelf", "plain", 1.0))
    plain = results.of_form("plain")
    operations = ["read_book", "read_author"]
    assert plain.ratio("rate", "Fastify", 16, operations) > 0
    assert isnan(plain.ratio("rate", "Django Ninja", 16, operations))


def test_targets_compare_the_measured_values_with_their_bounds(results: Results) -> None:
    assert target_values(results) == {
        "plain: requests/s to the limit": (0.4, False),
        "plain: requests/s to Fastify, without deep pages": (0.8, True),
        "plain: p99 to the tutorial": (0.1, True),
        "production: requests/s to the limit": (0.4, True),
        "production: requests/s to Fastify, without deep pages": (0.8, True),
        "production: p99 to the tutorial": (0.1, True),
        "open loop at 90%: p99.9 to p50": (7.0, True),
        "plain: memory to the tutorial": (1.0, True),
        "MiB (PSS) of each additional process": (30.0, True),
    }


def test_targets_without_measurements_are_left_out(results: Results) -> None:
    results.open_loop.clear()
    results.memory.clear()
    results.trials = [trial for trial in results.trials if trial.server != "Fastify"]
    assert len(target_values(results)) == 5


def test_failures_name_form_operation_and_server(results: Results) -> None:
    results.trials[0].failures["503"] = 2
    results.open_loop[2].failures["no response"] = 1
    assert results.failures() == {
        "plain, read_book, bookshelf, 16 connections: 503": 2,
        "open loop, bookshelf, 90%: no response": 1,
    }


def test_report_shows_all_measurements_and_the_servers_that_failed(results: Results) -> None:
    results.problems["production, Django Ninja"] = "it did not start"
    text = report.full_report(results)
    assert "| tutorial | **10.00** | 10.00 | 0.10 | 0.10 | 0.10 | 80 / 80 MiB |" in text
    assert "| bookshelf | 2,000 | 2.0 | 6.0 | 14.0 | 2.0 |" in text
    assert "| bookshelf | 70 | 130 | 190 | 30 |" in text
    assert "- production, Django Ninja: it did not start" in text


def test_generated_part_of_a_document_is_replaced(results: Results, tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"before\n{page.BEGIN_COMMENT}\nold\n{page.END_COMMENT}\nafter\n")
    page.replace_generated_part(document, page.readme_table(results))
    assert document.read_text() == (
        f"before\n{page.BEGIN_COMMENT}\n"
        "| form | tutorial | Fastify | limit |\n| --- | ---: | ---: | ---: |\n"
        "| plain | 10.00 | 0.80 | 0.40 |\n| production | 10.00 | 0.80 | 0.40 |\n"
        f"{page.END_COMMENT}\nafter\n"
    )


def test_document_without_the_comments_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("text")
    with pytest.raises(ValueError, match="does not contain"):
        page.replace_generated_part(document, "new")
    assert document.read_text() == "text"


@pytest.mark.parametrize("document", [page.PAGE, page.README])
def test_documents_contain_the_comments(document: Path) -> None:
    text = document.read_text()
    assert text.count(page.BEGIN_COMMENT) == 1
    assert text.index(page.BEGIN_COMMENT) < text.index(page.END_COMMENT)


def test_page_shows_both_forms_and_the_open_loop(results: Results) -> None:
    headings = [section for section in page.page_sections(results) if section.startswith("###")]
    assert headings == [
        "### Form `plain`: geometric means, 16 connections",
        "### Form `plain`: requests per second, 16 connections",
        "### Form `production`: geometric means, 16 connections",
        "### Form `production`: requests per second, 16 connections",
        "### Latency at fixed rates of requests",
        "### Memory by number of processes",
        "### Latency of reads while users register",
    ]
