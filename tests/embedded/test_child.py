"""Child processes, on small real ones."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest

from t2isearch.embedded import child as child_module
from t2isearch.embedded.child import (
    Child,
    Program,
    StopSignals,
    find_recorded,
    python_environment,
    stop_recorded,
)
from t2isearch.embedded.state import Layout
from tests.damages import DAMAGES, damage

# Starts a process of its own, says which, and waits.
PARENT = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid, flush=True)
time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
print("started", flush=True)
while True:
    time.sleep(1)
"""

Start = Callable[..., Child]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "var")
    layout.create()
    return layout


@pytest.fixture
def start(layout: Layout) -> Iterator[Start]:
    started: list[Child] = []

    def start(code: str, stop_with: StopSignals = ((signal.SIGTERM, 5.0),)) -> Child:
        program = Program(name="child", command=(sys.executable, "-c", code), stop_with=stop_with)
        child = Child(program, layout, python_environment(layout))
        child.start()
        started.append(child)
        return child

    yield start
    for child in started:
        child.stop(hurry=lambda: True)


def written(child: Child, *, lines: int = 1) -> list[str]:
    """Wait for the first lines that the child writes."""
    while len(found := child.last_lines()) < lines:
        time.sleep(0.01)
    return found


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_its_output_and_exit_code_are_kept(start: Start) -> None:
    child = start("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    while (code := child.exit_code()) is None:
        time.sleep(0.01)
    assert code == 3
    assert child.last_lines() == ["out", "err"]


def test_the_last_lines_are_those_of_the_last_start(start: Start) -> None:
    written(start("print('first')"))
    assert written(start("print('second')")) == ["second"]


def test_stop_ends_what_it_started(start: Start, layout: Layout) -> None:
    child = start(PARENT)
    grandchild = int(written(child)[0])
    assert is_running(grandchild)
    child.stop()
    assert not is_running(grandchild)
    assert not layout.process("child").exists()


def test_a_stubborn_child_is_killed(start: Start, layout: Layout) -> None:
    child = start(STUBBORN, ((signal.SIGTERM, 0.2),))
    written(child)
    pid = json.loads(layout.process("child").read_text())["pid"]
    child.stop()
    assert not is_running(pid)
    assert child.last_lines() == ["started", "no"]


def test_hurry_shortens_the_wait(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "HURRIED_PATIENCE_S", 0.1)
    child = start(STUBBORN, ((signal.SIGTERM, 3600.0),))
    written(child)
    child.stop(hurry=lambda: True)
    assert child.last_lines() == ["started", "no"]


def test_a_log_that_has_grown_large_is_put_aside(
    start: Start, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "LOG_ROTATION_BYTES", 10)
    log = layout.log("child")
    log.write_text("the log of earlier starts\n")
    assert written(start("print('new')")) == ["new"]
    assert log.read_text() == "new\n"
    assert log.with_name("child.log.1").read_text() == "the log of earlier starts\n"


def test_what_a_killed_supervisor_left_is_found_and_stopped(start: Start, layout: Layout) -> None:
    child = start(PARENT)
    grandchild = int(written(child)[0])
    found = find_recorded(layout)
    assert [recorded.name for recorded in found] == ["child"]
    stop_recorded(layout, found)
    assert not is_running(found[0].process.pid)
    assert not is_running(grandchild)
    assert find_recorded(layout) == []


@pytest.mark.parametrize("damage", ["", "{", '{"pid": 1}', '{"pid": 4194305, "create_time": 0}'])
def test_a_damaged_record_is_no_process(layout: Layout, damage: str) -> None:
    layout.process("web").write_text(damage)
    assert find_recorded(layout) == []


def test_a_process_that_has_got_the_same_id_is_left_alone(layout: Layout) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        started_at = psutil.Process(other.pid).create_time()
        record = {"pid": other.pid, "create_time": started_at - 3600, "stop_with": []}
        layout.process("web").write_text(json.dumps(record))
        stop_recorded(layout, find_recorded(layout))
        assert other.poll() is None
        os.kill(other.pid, signal.SIGKILL)
    assert not layout.process("web").exists()


# Writes lines for as long as it is not stopped.
TALKATIVE = """
import itertools, sys, time
for number in itertools.count():
    sys.stdout.write(f"line {number:06}\\n")  # in one piece, as loggers write
    if number % 50 == 0:
        time.sleep(0.001)
"""


def test_a_log_is_kept_small_while_it_is_written(
    start: Start, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "LOG_ROTATION_BYTES", 20_000)
    child = start(TALKATIVE)
    older = layout.log("child.log").with_name("child.log.1")
    rotated = 0
    while rotated < 5:
        if child.log.stat().st_size > 20_000:
            child.rotate_log()
            rotated += 1
            assert older.stat().st_size <= 100_000
        assert child.exit_code() is None
    while not child.log.stat().st_size:
        pass
    child.stop()
    # What was written last is there, in its order and without a hole.
    lines = child.log.read_bytes()
    assert b"\0" not in lines
    numbers = [int(line.split()[1]) for line in lines.splitlines()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert child.last_lines(1) == [f"line {numbers[-1]:06}"]


def test_a_log_that_is_no_file_is_replaced(start: Start, layout: Layout) -> None:
    (layout.log("child") / "within").mkdir(parents=True)
    assert written(start("print('here', flush=True)")) == ["here"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_process_with_a_damaged_record_is_found(start: Start, layout: Layout, how: str) -> None:
    child = start("import time; print('started', flush=True); time.sleep(60)")
    written(child)
    (pid,) = (each.process.pid for each in find_recorded(layout))
    damage(layout.process("child"), how)
    (found,) = find_recorded(layout)
    assert (found.name, found.process.pid) == ("child", pid)
    stop_recorded(layout, [found], hurry=lambda: True)
    assert not is_running(pid)
    assert list(layout.run.glob("*.pid")) == []


def test_a_process_that_can_not_be_recorded_runs_once(start: Start, layout: Layout) -> None:
    """A full disk is no reason to start it again, beside the one that runs."""
    with patch.object(child_module, "write_whole", side_effect=OSError(errno.ENOSPC, "no room")):
        child = start("import time; print('started', flush=True); time.sleep(60)")
    assert written(child) == ["started"]
    assert [each.name for each in find_recorded(layout)] == ["child"]


def test_only_children_are_found_by_their_environment(start: Start, layout: Layout) -> None:
    parent = start(PARENT)
    written(parent)
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env=python_environment(layout),
        start_new_session=True,
    ) as somebodys_command:
        damage(layout.process("child"), "removed")
        assert [each.name for each in find_recorded(layout)] == ["child"]
        somebodys_command.kill()
