"""Send valid and invalid requests to the service with schemathesis, and check its responses.

One half of the time the requests are those of an administrator, the other half they are anonymous.
Unknown options are passed to `schemathesis run`.
"""

import argparse
import asyncio
import os
import random
import sys

from tests.fuzz.service import ANONYMOUS_ACCESS_BY_CALLER, fuzz
from tests.support import servers


def main() -> int:
    """Run schemathesis once for each caller. Return the number of runs with failures."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="total duration (%(default)s)")
    parser.add_argument(
        "--seed",
        type=int,
        default=random.randrange(2**32),
        help="the same seed gives the same requests (random)",
    )
    options, other_options = parser.parse_known_args()
    print(f'To repeat this run: FUZZ_ARGS="--seed {options.seed}" make fuzz', flush=True)
    seconds_per_run = options.seconds // len(ANONYMOUS_ACCESS_BY_CALLER)
    schemathesis_options = [
        *("--max-time", str(seconds_per_run)),
        *("--seed", str(options.seed)),
        *other_options,
    ]
    failed_runs = 0
    with servers.running_template_database() as template_url, servers.running_store() as store:
        os.environ.update(store)
        for caller in ANONYMOUS_ACCESS_BY_CALLER:
            if asyncio.run(_run(template_url, caller, schemathesis_options)) != 0:
                failed_runs += 1
    return failed_runs


async def _run(template_url: str, caller: str, schemathesis_options: list[str]) -> int:
    """Run schemathesis against a service with a new database. Return its exit code."""
    database_url = await servers.copy_database(template_url, caller)
    return await fuzz(database_url, caller, *schemathesis_options)


sys.exit(main())
