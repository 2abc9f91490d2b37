"""The whole system as a person starts it: the supervisor and all its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

from t2isearch.embedded.child import find_recorded, stop_recorded
from t2isearch.embedded.service import free_port
from t2isearch.embedded.state import BASE_DIR, Layout, published_environment

START_PATIENCE_S = 240.0
STOP_PATIENCE_S = 90.0
# Names the directory that the encoders of all tests, and of the systems they start, share.
SHARED_ENCODERS = "TESTS_ENCODERS"


def share_encoders(layout: Layout) -> None:
    """What one process has converted and computed, half a minute of work, serves the others."""
    shared = Path(os.environ.get(SHARED_ENCODERS) or layout.root.parent / "encoders")
    shared.mkdir(exist_ok=True)
    if not layout.encoders.exists():
        layout.encoders.symlink_to(shared, target_is_directory=True)


class RunningSystem:
    """`python -m t2isearch.embedded run` on a `VAR_DIR` of its own. Leaves no process behind."""

    def __init__(self, var_dir: Path, *, port: int, environment: Mapping[str, str]) -> None:
        self.layout = Layout(var_dir)
        self.port = port
        self.environment = dict(environment)
        self.output = var_dir.with_suffix(".output")
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, var_dir: Path, *, environment: Mapping[str, str] | None = None) -> RunningSystem:
        """Start on `var_dir` and a free port, and wait until everything is ready.

        Raises:
            AssertionError: it could not be started; with everything it wrote.
        """
        system = cls(
            var_dir,
            port=free_port(),
            environment=bare_environment(var_dir) | dict(environment or {}),
        )
        system.layout.root.mkdir(mode=0o711, exist_ok=True)
        share_encoders(system.layout)
        system.launch()
        try:
            system.wait_until_ready()
        except BaseException:
            system.stop()
            raise
        return system

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def launch(self) -> subprocess.Popen[bytes]:
        """Start, also once more on the same data, without waiting."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "t2isearch.embedded", "run", "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=BASE_DIR,
                env=self.environment,
                start_new_session=True,
            )
        return self.process

    def wait_until_ready(self) -> None:
        """Wait until the supervisor says that everything is ready."""

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"It ended:\n{self.output.read_text()}"
            return "Ctrl-C stops it." in self.output.read_text()

        self.wait_until(ready, START_PATIENCE_S, "the system is ready")

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `manage.py` command in the same environment, as in another terminal."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            capture_output=True,
            text=True,
            cwd=BASE_DIR,
            env=self.environment,
            check=False,
        )

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of an SQL statement on the system's own database."""
        address = published_environment(self.layout)["DATABASE_URL"]
        with psycopg.connect(address) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def run_in_shell(self, *lines: str) -> str:
        """What some lines of Python print in `manage.py shell`.

        Raises:
            AssertionError: they raised; with the traceback.
        """
        completed = self.manage("shell", "--no-imports", "-c", "\n".join(lines))
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    def vectors_of(self, owner: str) -> list[int]:
        """The photos that Milvus has a vector of in someone's partition, as often as it has one."""
        return [
            int(number)
            for number in self.run_in_shell(
                "import numpy as np",
                "from accounts.models import User",
                "from search import milvus",
                "from search.models import SearchIndex",
                "index = SearchIndex.objects.active()",
                "vector = np.full(index.dimension, index.dimension**-0.5, dtype=np.float32)",
                f"owner = User.objects.get(username={owner!r}).pk",
                "name = index.collection_name",
                "hits = milvus.search(name, vector, owner_id=owner, limit=1000)",
                "print(*sorted(hit.photo_id for hit in hits))",
            ).split()
        ]

    def pid_of(self, name: str) -> int:
        """The process id of "supervisor", "web", "worker", "indexer", "beat" or a service."""
        if name == "supervisor":
            assert self.process is not None
            return self.process.pid
        return int(json.loads(self.layout.process(name).read_text())["pid"])

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process and all of its group."""
        os.killpg(self.pid_of(name), number)

    def kill(self, name: str) -> None:
        """End a process and all of its group by SIGKILL."""
        self.send_signal(name, signal.SIGKILL)
        if name == "supervisor" and self.process is not None:
            self.process.wait()

    def wait_until(self, predicate: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Ask `predicate` until it says yes.

        Raises:
            AssertionError: it did not within `timeout_s`; `what` names what was waited for.
        """
        deadline = time.monotonic() + timeout_s
        while not predicate():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"Not within {timeout_s:.0f} s: {what}.\n{self.output.read_text()}"
                )
            time.sleep(0.1)

    def stop(self) -> int | None:
        """Stop as a person would, and return the supervisor's exit code."""
        code = None
        if self.process is not None:
            if self.process.poll() is None:
                self.process.terminate()
            try:
                code = self.process.wait(STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill("supervisor")
        # What a killed supervisor left.
        stop_recorded(self.layout, find_recorded(self.layout), hurry=lambda: True)
        return code

    def __enter__(self) -> RunningSystem:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def bare_environment(var_dir: Path) -> dict[str, str]:
    """The environment of somebody who has configured nothing but `VAR_DIR`."""
    environment = dict(os.environ)
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    # Empty counts as not set, and keeps what a developer's `.env` sets away.
    not_set = ("DATABASE_URL", "MILVUS_URI", "CELERY_BROKER_URL", "CACHE_URL", "SECRET_KEY")
    return environment | dict.fromkeys(not_set, "") | {"VAR_DIR": str(var_dir)}
