from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import patch

import pytest
from celery import Task
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from kombu.exceptions import OperationalError as KombuError

from gallery.tasks import sweep
from t2isearch.dispatch import wake
from t2isearch.embedded.state import BASE_DIR

SEND = """
import django; django.setup()
from gallery.tasks import sweep
from t2isearch.dispatch import wake
wake(sweep)
print("went on")
"""


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_away_costs_a_second_try_and_no_error(scheme: str, tmp_path: Path) -> None:
    attempts: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as broker:

        def hang_up() -> None:
            while True:
                try:
                    client, address = broker.accept()
                except OSError:
                    return
                attempts.append(address)
                client.close()

        threading.Thread(target=hang_up, daemon=True).start()
        completed = subprocess.run(
            [sys.executable, "-c", SEND],
            env=os.environ
            | {
                "DJANGO_SETTINGS_MODULE": "t2isearch.settings",
                "VAR_DIR": str(tmp_path),
                "CELERY_BROKER_URL": f"{scheme}://127.0.0.1:{broker.getsockname()[1]}/",
            },
            cwd=BASE_DIR,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        broker.shutdown(socket.SHUT_RDWR)
    assert completed.stdout == "went on\n", completed.stderr
    assert "gallery.tasks.sweep could not be sent, the next sweep will" in completed.stderr
    assert len(attempts) == 2


@pytest.mark.parametrize(
    "error", [KombuError("away"), OSError("full"), ValueError("a damaged table"), KeyError("x"),
              ImproperlyConfigured("no such transport")],
)  # fmt: skip
@pytest.mark.django_db(transaction=True)
def test_whatever_fails_in_sending_fails_nothing_else(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []
    with patch.object(Task, "apply_async", side_effect=error), transaction.atomic():
        wake(sweep)
        transaction.on_commit(lambda: done.append("the next hook"))
    assert done == ["the next hook"]
    assert "gallery.tasks.sweep could not be sent, the next sweep will" in caplog.text
