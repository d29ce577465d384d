"""New request ids are unique, within a process and between processes."""

import re
import subprocess
import sys

from app.core.observability import new_request_id
from tests.support.processes import PROJECT_ROOT

PRINT_NEW_REQUEST_ID = """
from app.core.observability import new_request_id
print(new_request_id())
"""


def test_request_ids_are_unique_and_have_32_hexadecimal_digits() -> None:
    request_ids = [new_request_id() for _ in range(10_000)]
    assert len(set(request_ids)) == len(request_ids)
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in request_ids)


def test_first_request_ids_of_two_processes_differ() -> None:
    command = [sys.executable, "-c", PRINT_NEW_REQUEST_ID]
    outputs = {subprocess.check_output(command, cwd=PROJECT_ROOT, text=True) for _ in range(2)}
    assert len(outputs) == 2
