"""The whole system started, stopped, killed and started again, as real processes."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from t2isearch.embedded.service import free_port
from t2isearch.embedded.state import BASE_DIR, published_environment
from tests.running_system import RunningSystem, bare_environment

pytestmark = pytest.mark.system

STARTER = {"SEARCH_ENCODER": "starter"}
CHILDREN = ("milvus", "postgres", "worker", "indexer", "beat", "web")


def processes_on(var_dir: Path) -> list[str]:
    """The command lines of all processes that were given this `VAR_DIR`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("VAR_DIR") == str(var_dir):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def run_command(system: RunningSystem, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "t2isearch.embedded", *arguments],
        capture_output=True,
        text=True,
        cwd=BASE_DIR,
        env=system.environment,
        timeout=120,
        check=False,
    )


def is_ready(system: RunningSystem) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@pytest.fixture
def unstarted(systems_directory: Path, request: pytest.FixtureRequest) -> Iterator[RunningSystem]:
    """A system on an empty `VAR_DIR`, not launched."""
    var_dir = systems_directory / str(request.node.name)
    environment = bare_environment(var_dir) | STARTER
    with RunningSystem(var_dir, port=free_port(), environment=environment) as system:
        yield system


def test_killed_it_recovers_and_stopped_it_leaves_nothing_running(
    systems_directory: Path,
) -> None:
    var_dir = systems_directory / "killed"
    with RunningSystem.start(var_dir, environment=STARTER) as system:
        system.query("CREATE TABLE kept AS SELECT 42 AS number")
        output = system.output.read_text()
        assert f"t2isearch runs at {system.base_url}/" in output
        assert "Encoder  starter: " in output

        system.kill("supervisor")
        left = {name: system.pid_of(name) for name in CHILDREN}
        assert all(psutil.pid_exists(pid) for pid in left.values())

        system.launch()
        system.wait_until_ready()
        assert "Stopping what an earlier start left running" in system.output.read_text()
        assert not any(psutil.pid_exists(pid) for pid in left.values())
        assert is_ready(system)
        assert system.query("SELECT number FROM kept") == [(42,)]

        assert system.stop() == 0
        stopped = [
            line.split()[1]
            for line in system.output.read_text().splitlines()
            if line.endswith("s)") and "stopped" in line
        ]
        assert stopped == ["web", "beat", "indexer", "worker", "postgres", "milvus"]
        assert processes_on(var_dir) == []
        assert published_environment(system.layout) == {}


def test_a_second_start_on_the_same_data_is_refused(system: RunningSystem) -> None:
    second = run_command(system, "run", "--port", str(free_port()))
    assert second.returncode == 1
    assert second.stderr == (
        f"t2isearch already runs on {system.layout.root}: "
        f"process {system.pid_of('supervisor')} at {system.base_url}/\n"
    )
    assert is_ready(system)


def test_status_lists_what_runs(system: RunningSystem) -> None:
    completed = run_command(system, "status")
    assert completed.returncode == 0
    assert f"t2isearch runs at {system.base_url}/" in completed.stdout
    for name in ("supervisor", *CHILDREN):
        assert f"process {system.pid_of(name)}" in completed.stdout


def test_what_it_publishes_is_for_its_owner_only(system: RunningSystem) -> None:
    assert system.layout.services.stat().st_mode & 0o777 == 0o600
    assert set(published_environment(system.layout)) == {"DATABASE_URL", "MILVUS_URI", "WEB"}


@pytest.mark.parametrize("name", ["web", "worker", "milvus", "postgres"])
def test_a_child_that_was_killed_is_started_again(system: RunningSystem, name: str) -> None:
    before = system.pid_of(name)
    system.kill(name)

    def is_back() -> bool:
        record = system.layout.process(name)
        return record.exists() and system.pid_of(name) != before

    system.wait_until(is_back, 30, f"{name} runs again")
    assert f"{name} was ended by SIGKILL; it is started again in" in system.output.read_text()
    system.wait_until(lambda: is_ready(system), 60, "the system is ready again")


def test_a_taken_port_is_told_before_anything_is_started(unstarted: RunningSystem) -> None:
    with socket.create_server(("127.0.0.1", unstarted.port)):
        process = unstarted.launch()
        assert process.wait(60) == 1
    assert unstarted.output.read_text() == (
        f"Port {unstarted.port} on 127.0.0.1 cannot be used (Address already in use): "
        f"choose another one, for instance `make run PORT={unstarted.port + 1}`.\n"
    )
    assert not unstarted.layout.postgres.exists()


def test_stopped_while_it_starts_it_leaves_nothing_running(unstarted: RunningSystem) -> None:
    unstarted.launch()
    unstarted.wait_until(
        lambda: "Migrating the database" in unstarted.output.read_text(), 60, "it migrates"
    )
    assert processes_on(unstarted.layout.root)
    assert unstarted.stop() == 0
    assert processes_on(unstarted.layout.root) == []


def test_configured_services_are_used_and_not_started(
    unstarted: RunningSystem, system: RunningSystem
) -> None:
    unstarted.environment |= {
        "DATABASE_URL": published_environment(system.layout)["DATABASE_URL"],
        "MILVUS_URI": published_environment(system.layout)["MILVUS_URI"],
    }
    unstarted.launch()
    unstarted.wait_until(
        lambda: "Collecting static files" in unstarted.output.read_text(), 60, "it has migrated"
    )
    assert published_environment(unstarted.layout) == {"WEB": f"{unstarted.base_url}/"}
    assert not unstarted.layout.postgres.exists()
    assert not unstarted.layout.milvus.exists()


def test_a_step_that_fails_says_why(unstarted: RunningSystem) -> None:
    unstarted.environment["MAX_UPLOAD_MB"] = "plenty"
    assert unstarted.launch().wait(60) == 1
    output = unstarted.output.read_text()
    assert "MAX_UPLOAD_MB must be a whole number above zero, not 'plenty'." in output
    assert "Traceback" not in output
    assert processes_on(unstarted.layout.root) == []
