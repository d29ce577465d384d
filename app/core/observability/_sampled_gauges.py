"""Gauges that are read when Prometheus asks for them, so that a request does not update them."""

import os
from collections.abc import Callable
from functools import cache
from threading import Thread
from time import sleep
from typing import Final

from app.core.observability._instruments import DIRECTORY_VARIABLE, Gauge

# Prometheus usually scrapes every 15 seconds or more.
SAMPLE_INTERVAL_SECONDS: Final = 1.0


def export_value(gauge: Gauge, read_value: Callable[[], float]) -> None:
    """Export the result of a function, which other threads call, as the value of a gauge."""
    metrics_are_served_by_another_process = DIRECTORY_VARIABLE in os.environ
    if metrics_are_served_by_another_process:
        _sampled_functions()[gauge] = read_value
    else:
        gauge.set_function(read_value)


@cache
def _sampled_functions() -> dict[Gauge, Callable[[], float]]:
    """Return the functions of the sampled gauges. The first call starts the thread that samples."""
    functions: dict[Gauge, Callable[[], float]] = {}
    Thread(target=_sample, args=(functions,), name="metrics", daemon=True).start()
    return functions


def _sample(functions: dict[Gauge, Callable[[], float]]) -> None:
    """Write the values of the gauges to the files of this process, once per interval.

    Writing a value to a file takes 1.5 microseconds, and a request changes two gauges twice.
    """
    while True:
        for gauge, read_value in list(functions.items()):
            gauge.set(read_value())
        sleep(SAMPLE_INTERVAL_SECONDS)
