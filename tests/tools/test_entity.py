"""`make entity`: the names that it accepts. Another test follows docs/adding-an-entity.md."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.entity import check_names, parse_names, render
from tools.repository import ROOT

USED_BY_EVERY = "is used by the code of every entity"


@pytest.mark.parametrize(
    ("noun", "plural", "sentence"),
    [
        ("Publisher", "", "not a name such as"),
        ("book", "", "app/books exists already"),
        ("setting", "", "app/settings.py exists already"),
        ("line", "", "tests/lines.py exists already"),
        ("factory", "", "tests/factories.py exists already"),
        ("fault", "", "tests/faults exists already"),
        ("job_run", "", "The table job_runs exists already"),
        ("doc", "", "The path /docs is that of Swagger UI"),
        ("series", "series", "has to differ"),
        ("class", "", "class is a keyword of Python"),
        ("course", "class", "class is a keyword of Python"),
        ("reference", "", "references is a keyword of Postgres"),
        ("query", "", f"Query {USED_BY_EVERY}"),
        ("list", "", f"ListQuery {USED_BY_EVERY}"),
        ("base", "", f"Base {USED_BY_EVERY}"),
        ("entity_case", "", f"EntityCase {USED_BY_EVERY}"),
    ],
)
def test_name_that_something_else_has_is_refused(noun: str, plural: str, sentence: str) -> None:
    with pytest.raises(SystemExit, match=sentence):
        check_names(parse_names(noun, plural))


@pytest.mark.parametrize("noun", ["order_line", "interlibrary_loan_request", "status"])
def test_no_line_of_the_files_of_an_entity_is_too_long(noun: str, tmp_path: Path) -> None:
    names = parse_names(noun, "")
    check_names(names)
    for path, text in render(names).items():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    ruff = (sys.executable, "-m", "ruff")
    config = ("--config", str(ROOT / "pyproject.toml"), str(tmp_path))
    subprocess.run([*ruff, "format", "--quiet", *config], check=True)
    result = subprocess.run(
        [*ruff, "check", "--select", "E501", *config], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
