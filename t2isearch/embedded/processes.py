"""The processes of the application itself: web server, workers and scheduler."""

from __future__ import annotations

import signal

from t2isearch.embedded.child import Program, python_command

# SIGTERM lets a worker finish the tasks it runs, SIGQUIT makes it drop them (they are found again
# when their lease ends).
_WORKER_STOP = ((signal.SIGTERM, 30.0), (signal.SIGQUIT, 5.0))


def web(*, host: str, port: int) -> Program:
    """The web server: one process, so that the query encoder is in memory once."""
    return Program(
        name="web",
        command=python_command("-m", "t2isearch.front", "--host", host, "--port", str(port)),
        stop_with=((signal.SIGTERM, 15.0),),
        is_essential=True,
    )


def worker() -> Program:
    """Renditions and everything short."""
    return _celery_worker("worker", queues="default,renditions", processes=2)


def indexer() -> Program:
    """Embeddings. One process, which holds the image encoder and uses all cores by itself."""
    return _celery_worker("indexer", queues="index", processes=1)


def beat() -> Program:
    """Wakes the sweeps up in time."""
    return Program(name="beat", command=_celery("beat", "--loglevel", "INFO"))


def socket_address(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _celery_worker(name: str, *, queues: str, processes: int) -> Program:
    return Program(
        name=name,
        command=_celery(
            *("worker", "-Q", queues, "--concurrency", str(processes), "-n", f"{name}@%h"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            *("--loglevel", "INFO"),
        ),
        stop_with=_WORKER_STOP,
    )


def _celery(*arguments: str) -> tuple[str, ...]:
    return python_command("-m", "celery", "-A", "t2isearch", *arguments)
