"""Large files in the browser: they go in pieces, and go on after whatever came between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Route, expect

from tests.e2e.conftest import Newcomer
from tests.e2e.person import SEARCHABLE_PATIENCE_MS, Person
from tests.e2e.pictures import drawn_file, encode
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.browser, pytest.mark.timeout(600)]

PIECE = 4 * 1024 * 1024
# Of a file of 12 MB.
OFFSETS = [0, PIECE, 2 * PIECE]


@pytest.fixture(scope="module")
def system(systems_directory: Path) -> Iterator[RunningSystem]:
    """One that takes in large files, and is killed here."""
    environment = {"SEARCH_ENCODER": "starter", "MAX_UPLOAD_MB": "20"}
    with RunningSystem.start(systems_directory / "large", environment=environment) as system:
        yield system


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A picture of 12 MB, so of three pieces."""
    size = (2000, 2000)
    pixels = random.Random(7).randbytes(size[0] * size[1] * 3)
    path = tmp_path / "large.bmp"
    path.write_bytes(encode(Image.frombytes("RGB", size, pixels), "BMP"))
    return path


class Pieces:
    """The offsets of the pieces that a page sends. After `let_through` of them the line is cut."""

    def __init__(self, person: Person, let_through: int = 1000) -> None:
        self.offsets: list[int] = []
        self.let_through = let_through
        person.page.route("**/api/v1/uploads/*/", self._route)

    def _route(self, route: Route) -> None:
        if route.request.method == "PATCH":
            if len(self.offsets) == self.let_through:
                route.abort("connectionreset")
                return
            self.offsets.append(int(route.request.headers["upload-offset"]))
        route.continue_()

    def mend(self) -> None:
        self.let_through = 1000


def expect_lost(person: Person) -> None:
    note = person.page.locator(".upload-note")
    expect(note).to_have_text("The connection was lost. Trying again…", timeout=30_000)


def expect_searchable(person: Person, name: str) -> None:
    row = person.page.get_by_test_id("upload-row").filter(has_text=name)
    expect(row).to_have_attribute("data-state", "searchable", timeout=SEARCHABLE_PATIENCE_MS)


def unfinished(system: RunningSystem, person: Person) -> int:
    [(count,)] = system.query(
        "SELECT count(*) FROM gallery_partialupload JOIN accounts_user u ON u.id = owner_id "
        "WHERE state = 'receiving' AND username = %s",
        person.name,
    )
    return int(count)


def test_a_large_file_goes_in_pieces_and_a_small_one_at_once(
    newcomer: Newcomer, large: Path
) -> None:
    ann = newcomer("ann")
    ann.sign_up()
    pieces = Pieces(ann)
    ann.choose([large])
    expect_searchable(ann, large.name)
    assert pieces.offsets == OFFSETS
    ann.choose([drawn_file(300)])
    ann.wait_until_searchable(2)
    assert pieces.offsets == OFFSETS
    ann.choose([large])
    expect(ann.page.locator("#uploads-detail")).to_have_text("Already there: 1", timeout=30_000)


def test_it_goes_on_when_the_device_is_online_again(newcomer: Newcomer, large: Path) -> None:
    ann = newcomer("ann")
    ann.sign_up()
    pieces = Pieces(ann, let_through=1)
    ann.choose([large])
    expect_lost(ann)
    ann.context.set_offline(True)
    pieces.mend()
    ann.context.set_offline(False)
    expect_searchable(ann, large.name)
    assert pieces.offsets == OFFSETS
    ann.wait_until_searchable(1)


def test_it_goes_on_when_the_server_was_killed(
    newcomer: Newcomer, large: Path, system: RunningSystem
) -> None:
    ann = newcomer("ann")
    ann.sign_up()
    pieces = Pieces(ann, let_through=2)
    ann.choose([large])
    expect_lost(ann)
    killed = system.pid_of("web")
    system.kill("web")
    pieces.mend()
    expect_searchable(ann, large.name)
    assert system.pid_of("web") != killed
    assert pieces.offsets == OFFSETS


def test_the_same_file_goes_on_after_a_reload(newcomer: Newcomer, large: Path) -> None:
    ann = newcomer("ann")
    ann.sign_up()
    pieces = Pieces(ann, let_through=2)
    ann.choose([large])
    expect_lost(ann)
    # The page asks whether to leave while something is on its way.
    ann.page.once("dialog", lambda dialog: dialog.accept())
    ann.page.reload()
    pieces.mend()
    ann.choose([large])
    expect_searchable(ann, large.name)
    assert pieces.offsets == OFFSETS


def test_an_upload_is_cancelled(newcomer: Newcomer, large: Path, system: RunningSystem) -> None:
    ann = newcomer("ann")
    ann.sign_up()
    Pieces(ann, let_through=1)
    ann.choose([large])
    expect_lost(ann)
    assert unfinished(system, ann) == 1
    row = ann.page.get_by_test_id("upload-row").filter(has_text=large.name)
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_have_count(0)
    expect(ann.page.locator("#uploads")).to_be_hidden()
    ann.choose([drawn_file(301)])
    ann.wait_until_searchable(1)
    expect(ann.page.locator("#uploads-title")).to_have_text("Done. Searchable: 1")
    system.wait_until(lambda: unfinished(system, ann) == 0, 30, "the server has forgotten it")
    system.wait_until(
        lambda: list(system.layout.uploads.iterdir()) == [], 30, "its bytes are removed"
    )


def test_a_large_file_that_is_no_picture(newcomer: Newcomer, tmp_path: Path) -> None:
    ann = newcomer("ann")
    ann.expected_statuses.add(HTTPStatus.BAD_REQUEST)
    ann.sign_up()
    letter = tmp_path / "letter.jpg"
    letter.write_bytes(b"Dear Ann, this is no picture at all.\n" * 250_000)
    ann.choose([letter])
    row = ann.page.get_by_test_id("upload-row")
    expect(row).to_have_attribute("data-state", "rejected", timeout=30_000)
    sentence = "This is not a picture, or one in a format that can't be read."
    assert ann.upload_row("letter.jpg")["note"] == sentence
