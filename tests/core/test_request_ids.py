"""New request ids: unique in a process, and between processes that start in the same way."""

import re
import subprocess
import sys

from app.core.observability import new_request_id
from tests.support.processes import PROJECT_ROOT

FIRST_IDS = """
from app.core.observability import new_request_id
print(new_request_id())
"""


def test_new_request_ids_of_a_process_are_32_hexadecimal_digits_and_unique() -> None:
    ids = [new_request_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


def test_first_request_ids_of_two_processes_differ() -> None:
    command = [sys.executable, "-c", FIRST_IDS]
    ids = {subprocess.check_output(command, cwd=PROJECT_ROOT, text=True) for _ in range(2)}
    assert len(ids) == 2
