"""Check the files in `deploy/`: Kubernetes manifests, and configurations of reverse proxies.

`python -m checks.deploy` needs neither a cluster nor a network. Programs that are not installed
(kubectl, nginx, haproxy) are skipped.
"""

import sys
from itertools import chain

from checks import kubernetes, proxies


def main() -> int:
    """Print the errors. Return the exit status, which is 1 if there is an error."""
    exit_status = 0
    for error in chain(kubernetes.find_errors(), proxies.find_errors()):
        print(error, file=sys.stderr)
        exit_status = 1
    return exit_status


if __name__ == "__main__":
    sys.exit(main())
