"""The web server alone, on the database of the tests."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import psutil
import psycopg
from django.db import connection

from t2isearch.embedded.service import free_port
from t2isearch.embedded.state import BASE_DIR, Layout
from tests.fetching import fetch

START_PATIENCE_S = 120.0


class RunningFront:
    """`python -m t2isearch.front`, with what the tests put into their database."""

    def __init__(self, layout: Layout, port: int, process: subprocess.Popen[bytes]) -> None:
        self.layout = layout
        self.port = port
        self.process = process
        self._seen = psutil.Process(process.pid)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open_files(self) -> dict[Path, int]:
        """The sizes of the temporary files and photos that it has open, nameless ones too."""
        found = {}
        for each in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                name, facts = each.readlink(), each.stat()
                kept = (self.layout.temporary, self.layout.media, self.layout.uploads)
                if stat.S_ISREG(facts.st_mode) and any(map(name.is_relative_to, kept)):
                    found[name] = facts.st_size
        return found

    def temporary_bytes(self) -> int:
        return sum(self.open_files().values())

    def clients(self) -> int:
        """The connections that it keeps open."""
        found = self._seen.net_connections("tcp")
        return sum(each.laddr.port == self.port and bool(each.raddr) for each in found)

    def decoders_at_work(self) -> int:
        """Its children that use a core."""
        before = {child: child.cpu_times().user for child in self._seen.children()}
        time.sleep(0.3)
        return sum(child.cpu_times().user - used > 0.1 for child, used in before.items())


@contextmanager
def running_front(directory: Path, **environment: str) -> Iterator[RunningFront]:
    """A web server with a `VAR_DIR` of its own and the test database; it is stopped at the end."""
    facts = connection.settings_dict
    address = f"postgresql://{facts['USER']}@/{facts['NAME']}?host={facts['HOST']}"
    if not str(facts["HOST"]).startswith("/"):
        login = f"{facts['USER']}:{facts['PASSWORD']}" if facts["PASSWORD"] else facts["USER"]
        address = f"postgresql://{login}@{facts['HOST']}:{facts['PORT'] or 5432}/{facts['NAME']}"
    layout, port = Layout(directory), free_port()
    layout.create()
    log = directory / "web.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "t2isearch.front", "--port", str(port)],
            cwd=BASE_DIR,
            env=os.environ
            | {"VAR_DIR": str(directory), "DATABASE_URL": address, "CELERY_BROKER_URL": ""}
            | {"DJANGO_SETTINGS_MODULE": "t2isearch.settings.test", "PGAPPNAME": directory.name}
            | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    front = RunningFront(layout, port, process)
    try:
        deadline = time.monotonic() + START_PATIENCE_S
        while not _answers(front):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield front
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Or the test database can't be removed.
        with psycopg.connect(address) as database:
            while database.execute(
                "SELECT FROM pg_stat_activity WHERE application_name = %s", [directory.name]
            ).rowcount:
                database.rollback()
                time.sleep(0.1)


def _answers(front: RunningFront) -> bool:
    try:
        return fetch(f"{front.base_url}/healthz").status is HTTPStatus.OK
    except OSError:
        return False
