"""Workers that say they live."""

from __future__ import annotations

import pytest
from django.utils import timezone

from search.heartbeat import PATIENCE, seen_lately
from search.models import WorkerHeartbeat
from tests.running_system import RunningSystem


def test_a_worker_counts_as_gone_after_a_while(db: None) -> None:
    now = timezone.now()
    WorkerHeartbeat.objects.create(name="one", queues="default,index", seen_at=now)
    WorkerHeartbeat.objects.create(name="two", queues="renditions", seen_at=now - PATIENCE * 2)
    assert seen_lately("index")
    assert not seen_lately("renditions")
    assert not seen_lately("ind")


@pytest.mark.system
def test_each_worker_process_writes_its_heartbeat(system: RunningSystem) -> None:
    def queues_served() -> set[str]:
        served = "[name for name in ('default', 'renditions', 'index') if seen_lately(name)]"
        answer = system.manage(
            "shell",
            "-v0",
            "-c",
            f"from search.heartbeat import seen_lately; print(*{served})",
        )
        return set(answer.stdout.split())

    system.wait_until(
        lambda: queues_served() == {"default", "renditions", "index"}, 60, "every queue is served"
    )
