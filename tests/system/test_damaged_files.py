"""Whatever becomes of derived files, while the system runs and between two starts: it goes on."""

from __future__ import annotations

import shutil
from http import HTTPStatus
from pathlib import Path

import psutil
import pytest

from tests.api_client import ApiClient
from tests.damages import damage, remove
from tests.e2e.pictures import draw
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

PHOTOS = 8
PATIENCE_S = 240.0
CHILDREN = ("milvus", "postgres", "worker", "indexer", "beat", "web")
# What Milvus Lite's process becomes for as long as this package is found first.
CANNOT_START = "raise SystemExit('it can not start')"


def found(client: ApiClient) -> int:
    answer = client.get("/api/v1/search/", q="shapes", weak="true", limit=100)
    return len(answer.data["results"]) if answer.status == HTTPStatus.OK else -1


def upload(client: ApiClient, number: int) -> None:
    answer = client.upload(f"picture-{number}.jpg", draw(31_000 + number))
    assert answer.status == HTTPStatus.CREATED, answer.text


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_it_goes_on_whatever_becomes_of_derived_files(systems_directory: Path) -> None:
    stub = systems_directory / "cannot-start"
    environment = {"SEARCH_ENCODER": "starter", "PYTHONPATH": str(stub)}
    with RunningSystem.start(systems_directory / "damaged", environment=environment) as system:
        layout = system.layout
        client = ApiClient.of_new_person(system, "damaged-files")
        for number in range(PHOTOS):
            upload(client, number)
        system.wait_until(lambda: found(client) == PHOTOS, PATIENCE_S, "all photos are found")

        # While it runs.
        processes = {name: psutil.Process(system.pid_of(name)) for name in CHILDREN}
        for how in ("emptied", "zeroed", "a directory"):
            for file in files(layout.broker):
                damage(file, how)
        damage(layout.services, "zeroed")
        damage(layout.lock, "emptied")
        for name in CHILDREN:
            damage(layout.process(name), "emptied")
        for file in layout.run.glob("beat-schedule*"):
            damage(file, "random")
        upload(client, PHOTOS)
        system.wait_until(lambda: found(client) == PHOTOS + 1, PATIENCE_S, "the new one is found")
        assert all(process.is_running() for process in processes.values())
        assert "9 of 9 photos" in system.manage("index_status").stdout
        assert system.stop() == 0
        assert not any(process.is_running() for process in processes.values())

        # Between two starts.
        for file in layout.milvus.rglob("*.idx"):
            damage(file, "halved")
        remove(layout.broker)
        layout.broker.write_text("in the way")
        (layout.services / "within").mkdir(parents=True)
        layout.process("web").write_text("[[")
        for file in [*layout.run.glob("beat-schedule*"), *layout.static.glob("staticfiles.json")]:
            damage(file, "halved")
        damage(next(layout.static.glob("css/*.css")), "emptied")
        remove(layout.log("web"))
        layout.log("web").mkdir()
        system.launch()
        system.wait_until_ready()
        assert "Milvus can't use" in system.output.read_text()
        system.wait_until(lambda: found(client) == PHOTOS + 1, PATIENCE_S, "all are found again")
        assert client.get("/").status == HTTPStatus.OK
        assert system.stop() == 0

        # A Milvus that does not start at all, and then does.
        (stub / "milvus_lite").mkdir(parents=True)
        (stub / "milvus_lite" / "__init__.py").write_text(CANNOT_START)
        system.launch()

        def announced(sentence: str) -> bool:
            return sentence in system.output.read_text()

        system.wait_until(
            lambda: announced("The gallery can be used at"), PATIENCE_S, "the gallery is there"
        )
        assert announced("The gallery goes on without Milvus Lite")
        assert len(client.photos()) == PHOTOS + 1
        assert found(client) == -1
        upload(client, PHOTOS + 1)
        shutil.rmtree(stub)
        system.wait_until(lambda: found(client) == PHOTOS + 2, PATIENCE_S, "the search is back")
        system.wait_until_ready()
