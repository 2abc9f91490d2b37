"""A person at the browser, and what goes wrong on the pages they see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Error,
    FilePayload,
    Page,
    Response,
    expect,
)

PASSWORD = "correct horse battery"
# Loading the encoder, rendering and embedding a dozen photos on two busy cores, with time to spare.
SEARCHABLE_PATIENCE_MS = 180_000


def press(page: Page, key: str) -> None:
    """Press a key once the page hears it: when it is loaded, its scripts have run."""
    page.wait_for_load_state()
    page.keyboard.press(key)


@dataclass
class Person:
    """Somebody with a browser context of their own, and one page in it.

    `problems` collects script errors, messages on the console and answers from 400 on, save those
    in `expected_statuses`: a test fails when anything is left in it.
    """

    name: str
    context: BrowserContext
    page: Page
    password: str = PASSWORD
    problems: list[str] = field(default_factory=list)
    expected_statuses: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.watch(self.page)

    @property
    def email(self) -> str:
        return f"{self.name}@example.com"

    def watch(self, page: Page) -> None:
        """Collect what goes wrong on `page`."""
        page.on("pageerror", self._failed)
        page.on("console", self._heard)
        page.on("response", self._answered)

    def _failed(self, error: Error) -> None:
        # Chromium's word on a fade between two pages that came too late to be shown.
        if not str(error).startswith("Transition was "):
            self.problems.append(f"{self.page.url}: {error}")

    def _heard(self, message: ConsoleMessage) -> None:
        # Chromium also writes each answer from 400 on to the console: see `_answered`.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.problems.append(f"{self.page.url}: {message.text}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected_statuses:
            self.problems.append(f"{response.status} {response.url}")

    def sign_up(self) -> None:
        """Create the account as anybody would, and arrive at the empty gallery."""
        page = self.page
        page.goto("/")
        page.get_by_role("link", name="Create an account").click()
        page.get_by_label("Username").fill(self.name)
        page.get_by_label("Email").fill(self.email)
        page.get_by_label("Password", exact=True).fill(self.password)
        page.get_by_label("Password (again)").fill(self.password)
        page.get_by_role("button", name="Create account").click()
        expect(page.get_by_role("heading", name="Your photos go here")).to_be_visible()

    def sign_in(self, login: str) -> None:
        """Sign in on the page that asks for it."""
        page = self.page
        page.get_by_label("Username or email").fill(login)
        page.get_by_label("Password", exact=True).fill(self.password)
        page.get_by_role("button", name="Sign in", exact=True).click()

    def open_menu(self) -> None:
        self.page.get_by_test_id("account-menu").locator("summary").click()

    def choose(self, files: Iterable[Path | FilePayload]) -> None:
        """Upload by the file chooser: paths, or names with their bytes, not both at once."""
        chosen = list(files)
        paths = [file for file in chosen if isinstance(file, Path)]
        payloads = [file for file in chosen if not isinstance(file, Path)]
        with self.page.expect_file_chooser() as opened:
            self.page.locator("label[for='upload-input']").click()
        opened.value.set_files(paths or payloads)

    def drop(self, paths: Iterable[Path], *, at: tuple[float, float] = (300, 300)) -> None:
        """Drop files or folders onto the page as an operating system would."""
        session = self.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            if kind == "drop":
                expect(self.page.get_by_text("Drop photos or folders to add them")).to_be_visible()
            session.send(
                "Input.dispatchDragEvent", {"type": kind, "x": at[0], "y": at[1], "data": data}
            )
        session.detach()

    def wait_until_searchable(self, count: int) -> None:
        """Wait until the gallery page shows `count` photos, all of them searchable."""
        tiles = self.page.locator("#photo-grid .tile")
        ready = self.page.locator("#photo-grid .tile[data-status='ready'][data-searchable='true']")
        expect(tiles).to_have_count(count, timeout=SEARCHABLE_PATIENCE_MS)
        expect(ready).to_have_count(count, timeout=SEARCHABLE_PATIENCE_MS)

    def wait_until_ready(self, count: int) -> None:
        """Wait until the gallery page shows `count` photos with their pictures."""
        ready = self.page.locator("#photo-grid .tile[data-status='ready'] img.thumbnail")
        expect(ready).to_have_count(count, timeout=SEARCHABLE_PATIENCE_MS)

    def shown(self) -> list[int]:
        """The numbers of the photos that are in the document, in its order."""
        tiles = self.page.locator("#photo-grid .tile[data-photo-id]")
        numbers = tiles.evaluate_all("all => all.map(each => Number(each.dataset.photoId))")
        return [int(number) for number in numbers]

    def ids(self, query: str = "") -> list[int]:
        """The numbers of all photos of a timeline, as the server orders them."""
        url = f"/timeline/keys/?count=1000&{query}"
        return [int(number) for number in self.page.request.get(url).json()["ids"]]

    def search(self, words: str) -> None:
        """Search by the box in the header, and wait for the answer's page."""
        box = self.page.get_by_test_id("search-input")
        box.fill(words)
        box.press("Enter")
        expect(self.page.locator("#results h1")).to_contain_text(f"“{words}”")

    def found(self) -> list[str]:
        """The names of the photos that are shown as results, best first."""
        pictures = self.page.get_by_test_id("result").locator("img.thumbnail")
        return [
            (picture.get_attribute("alt") or "").removeprefix("Photo ")
            for picture in pictures.all()
        ]

    def upload_row(self, filename: str) -> dict[str, str]:
        """What the panel of uploads says of a file: its state and the sentence beside it."""
        row = self.page.get_by_test_id("upload-row").filter(
            has=self.page.get_by_text(filename, exact=True)
        )
        return {
            "state": row.get_attribute("data-state") or "",
            "note": row.locator(".upload-note").inner_text().replace("\xa0", " "),
        }

    def photo_id(self, stem: str) -> int:
        """The number of the photo called `stem` on the gallery page."""
        tile = self.page.locator("#photo-grid .tile").filter(
            has=self.page.get_by_alt_text(f"Photo {stem}", exact=True)
        )
        return int(tile.get_attribute("data-photo-id") or 0)

    def status_of(self, path: str) -> HTTPStatus:
        """How the server answers a request for `path` of this person."""
        return HTTPStatus(self.page.request.get(path, max_redirects=0).status)

    def csrf_token(self) -> str:
        found = re.search(r'"X-CSRFToken": "(\w+)"', self.page.content().replace("&quot;", '"'))
        assert found is not None
        return found[1]
