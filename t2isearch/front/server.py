"""The web server as a process: uvicorn, set up for clients that nobody vouches for."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import time
from typing import Any

from uvicorn import Config, Server

from t2isearch.front.connections import Connection

# What runs when the process is to end has so long.
GRACEFUL_S = 10
KEEP_ALIVE_S = 10
MOST_CONNECTIONS = 2000
# For files, decoders, and connections to the services.
OTHER_FILES = 512


class FrontServer(Server):
    """uvicorn's server, with an eye on how long its connections wait for their clients."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.check(now)


def serve(application: Any, *, host: str, port: int) -> None:
    """Serve an ASGI application until SIGTERM or SIGINT comes, and finish what runs then."""
    Connection.most_connections = most_connections()
    # uvicorn tells everything about strangers' requests that are none.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = Config(
        application,
        host=host,
        port=port,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        loop="asyncio",
        log_config=None,
        access_log=False,
        # Who is in front is TRUSTED_PROXIES' matter.
        proxy_headers=False,
        server_header=False,
        backlog=2048,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACEFUL_S,
    )
    # uvicorn sends itself the signal again when it is done; that is no reason to die of it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    FrontServer(config).run()


def most_connections() -> int:
    """As many as there may be files for, of which an answer holds one too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else (soft - OTHER_FILES) // 2
