"""Tests of `make entity`: the names that it accepts, and the files that it writes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import PROJECT_ROOT
from tools.entity import Names, check_names, parse_names, pluralize, render_templates
from tools.registration import add_to_lists

USED_BY_EVERY = "The code of every entity already uses the name"
ORDER_LINE = Names("order line", "order lines")


def fail_with(*arguments: str) -> str:
    """Run `make entity` with invalid arguments, and return its message."""
    command = (sys.executable, "-m", "tools.entity", *arguments)
    process = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert process.stdout == ""
    assert process.stderr.count("\n") == 1
    return process.stderr.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "Name the entity, for example: make entity NAME=publisher"),
        (["Publisher"], "'Publisher' must consist of lowercase letters"),
        (["../x"], "'../x' must consist of lowercase letters"),
        (["publisher2"], "'publisher2' must consist of lowercase letters"),
        (["author"], "app/authors already exists."),
        (["resource"], "app/resources.py already exists."),
        (["class"], "class is a keyword of Python."),
        (["entity"], "The code of every entity already uses the name Entity."),
        (["sheep", "sheep"], "The plural must differ from sheep"),
    ],
)
def test_entity_fails_with_one_line_for_invalid_name(arguments: list[str], message: str) -> None:
    assert fail_with(*arguments).startswith(message)


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        ("publisher", "publishers"),
        ("country", "countries"),
        ("essay", "essays"),
        ("address", "addresses"),
        ("branch", "branches"),
        ("box", "boxes"),
    ],
)
def test_regular_plural_is_derived(noun: str, plural: str) -> None:
    assert pluralize(noun) == plural


def test_names_are_parsed_with_any_separator_and_irregular_plural() -> None:
    assert parse_names("order_line", "") == ORDER_LINE
    assert parse_names("order-line", "") == ORDER_LINE
    assert parse_names("person", "people") == Names("person", "people")


def test_entity_of_two_words_has_its_name_in_every_form() -> None:
    files = {
        path.relative_to(PROJECT_ROOT).as_posix(): text
        for path, text in render_templates(ORDER_LINE).items()
    }
    assert set(files) == {
        *("app/order_lines/__init__.py", "app/order_lines/models.py"),
        *("app/order_lines/schemas.py", "app/order_lines/repository.py"),
        *("app/order_lines/service.py", "app/order_lines/router.py"),
        *("tests/order_lines/__init__.py", "tests/order_lines/test_order_lines.py"),
    }
    for text in files.values():
        ast.parse(text)
        assert "$" not in text
    assert '__tablename__ = "order_lines"' in files["app/order_lines/models.py"]
    assert (
        'Router(prefix="/order-lines", tags=["order lines"])' in files["app/order_lines/router.py"]
    )
    assert (
        "class OrderLineUpdate(UpdateModel, OrderLineCreate)" in files["app/order_lines/schemas.py"]
    )
    assert '"""An order line."""' in files["app/order_lines/schemas.py"]


def test_entity_is_added_to_every_list() -> None:
    files = {
        path.relative_to(PROJECT_ROOT).as_posix(): text
        for path, text in add_to_lists(ORDER_LINE.placeholders()).items()
    }
    added = {
        "app/api.py": "    order_lines,\n",
        "app/tables.py": "    OrderLine,\n",
        "pyproject.toml": '    "order_lines | authors',
        "app/changes/visibility.py": '    "order_lines": "catalog:read",\n',
        "tests/support/entities.py": "        model=OrderLine,\n",
    }
    assert set(files) == set(added)
    for name, line in added.items():
        assert files[name].count(line) == 1
        # Nothing else has changed.
        assert len(files[name]) > len((PROJECT_ROOT / name).read_text())


@pytest.mark.parametrize(
    ("noun", "plural", "message"),
    [
        ("Publisher", "", "must consist of lowercase letters"),
        ("book", "", "app/books already exists"),
        ("resource", "", "app/resources.py already exists"),
        ("fault", "", "tests/faults already exists"),
        ("job_run", "", "The table job_runs already exists"),
        ("doc", "", "The path /docs already belongs to Swagger UI"),
        ("series", "series", "must differ from series"),
        ("class", "", "class is a keyword of Python"),
        ("course", "class", "class is a keyword of Python"),
        ("reference", "", "references is a keyword of Postgres"),
        ("query", "", f"{USED_BY_EVERY} Query"),
        ("list", "", f"{USED_BY_EVERY} ListQuery"),
        ("base", "", f"{USED_BY_EVERY} Base"),
        ("entity_case", "", f"{USED_BY_EVERY} EntityCase"),
    ],
)
def test_entity_fails_for_name_that_is_in_use(noun: str, plural: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        check_names(parse_names(noun, plural))


@pytest.mark.parametrize("noun", ["order_line", "interlibrary_loan_request", "status"])
def test_files_of_entity_pass_the_linter(noun: str, tmp_path: Path) -> None:
    names = parse_names(noun, "")
    check_names(names)
    for path, text in render_templates(names).items():
        target = tmp_path / path.relative_to(PROJECT_ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    ruff = (sys.executable, "-m", "ruff")
    config = ("--config", str(PROJECT_ROOT / "pyproject.toml"), str(tmp_path))
    subprocess.run([*ruff, "format", "--quiet", *config], check=True)
    result = subprocess.run(
        [*ruff, "check", "--select", "E501", *config], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
