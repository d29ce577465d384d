"""The tables of the open loop, of the memory by number of processes, and of the targets."""

from math import nan

from benchmarks.arrivals import LOADS
from benchmarks.results import Results
from benchmarks.tables import format_figure, table
from benchmarks.targets import compute_targets


def open_loop_table(results: Results) -> str:
    """Return a table with the latencies at fixed rates, or an empty string without any."""
    if not results.open_loop:
        return ""
    heading = ["", "capacity/s"]
    for load in LOADS:
        heading += [f"{load:.0%}: p50 ms", "p99", "p99.9"]
    rows = []
    for server in dict.fromkeys(trial.server for trial in results.open_loop):
        capacity = max(trial.capacity for trial in results.open_loop if trial.server == server)
        cells = [f"{capacity:,.0f}"]
        for load in LOADS:
            for field in ("p50", "p99", "p999"):
                value = results.open_loop_median(field, server, load)
                cells.append(format_figure(value, ".1f"))
        rows.append([server, *cells])
    return table(heading, rows)


def memory_table(results: Results) -> str:
    """Return a table with the memory by number of processes, or an empty string without any."""
    if not results.memory:
        return ""
    counts = sorted({memory.processes for memory in results.memory})
    heading = ["PSS in MiB", *(f"processes: {count}" for count in counts)]
    rows = []
    for server in dict.fromkeys(memory.server for memory in results.memory):
        sizes = {row.processes: row.pss for row in results.memory if row.server == server}
        cells = [format_figure(sizes.get(count, nan), ".0f") for count in counts]
        additional = format_figure(results.memory_per_process(server), ".0f")
        rows.append([server, *cells, additional])
    return table([*heading, "additional process"], rows)


def targets_table(results: Results) -> str:
    """Return a table with each target, the measured value, and whether the target is reached."""
    rows = []
    for target in compute_targets(results):
        bound = f"{target.word} {target.bound:g}"
        verdict = "yes" if target.is_reached else "**no**"
        rows.append([target.description, bound, f"{target.value:.2f}", verdict])
    return table(["geometric mean", "target", "measured", "reached"], rows)
