"""One start at a time on each `VAR_DIR`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from t2isearch.embedded.lock import AlreadyRunningError, Owner, exclusive_lock, lock_owner
from t2isearch.embedded.state import BASE_DIR
from tests.damages import DAMAGES, damage

HOLDER = """
import sys, time
from pathlib import Path
from t2isearch.embedded.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), address="http://127.0.0.1:1/"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_nobody_owns_a_lock_that_was_never_taken(path: Path) -> None:
    assert lock_owner(path) is None


def test_the_second_is_told_who_is_the_first(path: Path) -> None:
    with exclusive_lock(path, address="http://127.0.0.1:8000/"):
        owner = Owner(os.getpid(), "http://127.0.0.1:8000/")
        assert lock_owner(path) == owner
        with pytest.raises(AlreadyRunningError) as caught, exclusive_lock(path, address=""):
            pass
        assert caught.value.owner == owner
    assert lock_owner(path) is None


def test_a_killed_owner_lets_go(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, cwd=BASE_DIR
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert lock_owner(path) == Owner(holder.pid, "http://127.0.0.1:1/")
        holder.send_signal(signal.SIGKILL)
    assert lock_owner(path) is None
    with exclusive_lock(path, address=""):
        pass


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_lock_is_no_obstacle(path: Path, how: str) -> None:
    path.write_text('{"pid": 1, "address": "http://127.0.0.1:8000/"}')
    damage(path, how)
    assert lock_owner(path) is None
    with exclusive_lock(path, address="here"):
        assert lock_owner(path) == Owner(os.getpid(), "here")


@pytest.mark.parametrize("how", DAMAGES)
def test_a_lock_that_is_damaged_while_it_is_held_is_mended(path: Path, how: str) -> None:
    with exclusive_lock(path, address="here") as renew:
        damage(path, how)
        renew()
        assert lock_owner(path) == Owner(os.getpid(), "here")
        with pytest.raises(AlreadyRunningError), exclusive_lock(path, address="there"):
            pass
    assert lock_owner(path) is None
