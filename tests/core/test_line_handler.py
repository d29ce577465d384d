"""The handler that writes log lines, with a pipe that is full, closed or shared."""

import logging
import os
import sys
from collections import Counter
from io import StringIO
from pathlib import Path
from threading import Thread

import pytest

from app.cli.child_processes import get_process_context, start_process
from app.core.observability._line_handler import MAX_WAITING_BYTES, LineHandler
from tests.support.log_pipe import Pipe


def test_full_non_blocking_pipe_loses_no_line_and_no_part_of_one(pipe: Pipe) -> None:
    filling_count = pipe.fill()
    lines = [f"line {number} {'é' * 3000}" for number in range(5)]
    for line in lines:
        pipe.handler.write_line(line)
    assert pipe.read() == "x" * filling_count
    pipe.handler.write_line("last")
    assert pipe.read() == "".join(f"{line}\n" for line in [*lines, "last"])


def test_line_that_was_written_in_part_is_completed(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    long_line = "x" * 2**19
    pipe.handler.write_line(long_line)
    written = pipe.read()
    assert 0 < len(written) < len(long_line)
    # The whole rest waits, although it is longer than what may wait of lines not begun.
    pipe.handler.write_line("lost")
    while chunk := pipe.read():
        written += chunk
        pipe.handler.flush()
    assert written == f"{long_line}\n"


def test_lines_are_lost_as_a_whole_while_a_pipe_is_full_for_long(pipe: Pipe) -> None:
    filling_count = pipe.fill()
    for number in range(20_000):
        pipe.handler.write_line(f"line {number}")
    assert pipe.read() == "x" * filling_count
    pipe.handler.flush()
    lines = pipe.read().splitlines()
    assert MAX_WAITING_BYTES / 20 < len(lines) < 20_000
    assert lines == [f"line {number}" for number in range(len(lines))]
    pipe.handler.write_line("next")
    assert pipe.read() == "next\n"


def test_closed_pipe_raises_no_error(pipe: Pipe, capfd: pytest.CaptureFixture[str]) -> None:
    os.close(pipe.reader)
    log_record = logging.makeLogRecord({"msg": "lost"})
    for _ in range(3):
        pipe.handler.handle(log_record)
        pipe.handler.write_line("lost")
        pipe.handler.flush()
    assert capfd.readouterr() == ("", "")
    # The fixture closes the descriptor.
    pipe.reader = os.open(os.devnull, os.O_RDONLY)


def test_full_disk_raises_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w") as stream:
        handler = LineHandler(stream)
        for _ in range(3):
            handler.handle(logging.makeLogRecord({"msg": "lost"}))
            handler.write_line("lost")
            handler.flush()
    assert capfd.readouterr() == ("", "")


def test_nothing_is_written_to_the_next_file_with_the_descriptor_of_a_closed_stream(
    pipe: Pipe, tmp_path: Path
) -> None:
    descriptor = pipe.stream.fileno()
    pipe.stream.close()
    path = tmp_path / "other"
    with path.open("w") as other_file:
        assert other_file.fileno() == descriptor
        pipe.handler.write_line("lost")
        pipe.handler.flush()
    assert path.read_text() == ""


def test_forked_process_does_not_write_the_waiting_lines_of_its_parent(pipe: Pipe) -> None:
    pipe.fill()
    pipe.handler.write_line("parent")
    pipe.read()
    process_id = os.fork()
    if process_id == 0:
        pipe.handler.write_line("child")
        os._exit(0)
    os.waitpid(process_id, 0)
    assert pipe.read() == "child\n"
    pipe.handler.flush()
    assert pipe.read() == "parent\n"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_process_of_a_server_writes_its_waiting_lines_at_its_end(pipe: Pipe) -> None:
    def write_line_that_waits() -> None:
        pipe.fill()
        pipe.handler.write_line("last")
        pipe.read()

    process = start_process(get_process_context(), write_line_that_waits)
    process.join()
    assert process.exitcode == 0
    assert pipe.read() == "last\n"


def test_process_without_standard_error_loses_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    handler = LineHandler()
    handler.write_line("lost")
    handler.flush()


def test_characters_that_the_encoding_does_not_have_are_escaped(pipe: Pipe) -> None:
    pipe.stream.reconfigure(encoding="ascii", errors="strict")
    pipe.handler.write_line("é\ud800")
    assert pipe.read() == "\\xe9\\ud800\n"


def test_lines_of_several_threads_and_handlers_do_not_mix(pipe: Pipe) -> None:
    # Another handler writes to the same pipe, as the handler of another process does.
    other_handler = LineHandler(pipe.stream)
    lines = {letter: letter * 3000 for letter in "abcdefgh"}
    written: list[str] = []

    def write(letter: str) -> None:
        handler = pipe.handler if letter < "e" else other_handler
        for _ in range(50):
            handler.write_line(lines[letter])

    threads = [Thread(target=write, args=(letter,)) for letter in lines]
    for thread in threads:
        thread.start()
    os.set_blocking(pipe.reader, True)
    with os.fdopen(os.dup(pipe.reader)) as reader:
        written.extend(next(reader).rstrip("\n") for _ in range(50 * len(lines)))
    for thread in threads:
        thread.join()
    assert Counter(written) == dict.fromkeys(lines.values(), 50)


def test_stream_without_a_descriptor_gets_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    LineHandler().write_line("é")
    assert capsys.readouterr().err == "é\n"
    stream = StringIO()
    LineHandler(stream).write_line("é")
    assert stream.getvalue() == "é\n"


def test_text_that_the_stream_contains_is_written_first(pipe: Pipe) -> None:
    pipe.stream.write("before\n")
    LineHandler(pipe.stream).write_line("after")
    assert pipe.read() == "before\nafter\n"
