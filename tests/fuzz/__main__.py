"""`make fuzz`: as an admin and as nobody, for as long as one likes, each time with another seed."""

import argparse
import asyncio
import os
import random
import sys

from tests.fuzz.service import ACCESS, fuzz
from tests.support import servers


def main() -> int:
    """The number of runs in which something was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="of both runs together")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given, more = parser.parse_known_args()
    print(f'FUZZ_ARGS="--seed {given.seed}" make fuzz  # asks the same again', flush=True)
    with servers.running_template_database() as url, servers.running_store() as store:
        os.environ.update(store)
        return sum(
            bool(asyncio.run(_run(url, who, given.seconds // len(ACCESS), given.seed, more)))
            for who in ACCESS
        )


async def _run(template: str, who: str, seconds: int, seed: int, more: list[str]) -> int:
    url = await servers.copy_database(template, who)
    options = ("--max-time", str(seconds), "--seed", str(seed), *more)
    return await fuzz(url, who, *options)


sys.exit(main())
