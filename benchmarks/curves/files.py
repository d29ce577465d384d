"""Curves over the size of an uploaded file."""

from typing import Final

from app import embedded
from benchmarks.curves.bench import CurveBench
from benchmarks.curves.results import Panel
from benchmarks.transfers import MIB, SERVICE, UploadBench
from benchmarks.upload_observers import watching

SIZES: Final = (1, 4, 16, 64, 256, 1024)  # MiB


def measure_files(bench: CurveBench) -> list[Panel]:
    """Measure the duration of an upload, and the peak memory of a server that was just started."""
    duration = Panel("Size of a file: duration", "MiB", "ms per MiB")
    memory = Panel("Size of a file: memory", "MiB", "MiB (peak)", log_y=False)
    with embedded.run_s3_server(bench.directory / "store") as store:
        uploads = UploadBench(bench.directory, bench.usual_database.url, store)
        for _ in range(bench.rounds):
            for size in SIZES:
                temporary_directory = uploads.temporary_directory(SERVICE)
                with (
                    uploads.server(SERVICE) as server,
                    watching(server, temporary_directory) as footprint,
                ):
                    # The first upload of a process imports boto3 and connects to the store.
                    uploads.upload(server, min(SIZES))
                    seconds = uploads.upload(server, size)
                duration.add("upload", size, seconds * 1e3 / size)
                memory.add("server", size, footprint.peak / MIB)
                uploads.empty()
    return [duration, memory]
