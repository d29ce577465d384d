"""The two forms in which servers are compared: `plain` and `production`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# The database connections of all processes of a server together.
POOL_SIZE: Final = 20


@dataclass(frozen=True)
class Form:
    """How all servers run, and how they reach Postgres.

    Args:
        name: The name in the results.
        processes: The number of server processes.
        is_production: Whether servers log each request and check its token, and whether this
            service records metrics.
        network_delay: The seconds that each message between a server and Postgres takes. With 0,
            servers use a Unix socket.
    """

    name: str
    processes: int
    is_production: bool
    network_delay: float

    def environment(self, metrics_port: int) -> Mapping[str, str]:
        """Return the environment variables of a server.

        The peers read only BENCHMARK_FORM, POOL_SIZE and WEB_CONCURRENCY. The others are settings
        of this service, whose DB_POOL_SIZE is that of all processes together.
        """
        environment = {
            "BENCHMARK_FORM": self.name,
            "POOL_SIZE": str(POOL_SIZE // self.processes),
            "WEB_CONCURRENCY": str(self.processes),
        }
        if self.is_production:
            environment |= {
                "ANONYMOUS_ACCESS": "none",
                "LOG_FORMAT": "json",
                "LOG_LEVEL": "INFO",
                "METRICS_PORT": str(metrics_port),
            }
        return environment


PLAIN: Final = Form("plain", processes=1, is_production=False, network_delay=0.0)
PRODUCTION: Final = Form("production", processes=2, is_production=True, network_delay=0.0005)
FORMS: Final = (PLAIN, PRODUCTION)
