from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from tests.e2e.person import Person
from tests.e2e.pictures import draw, photo
from tests.running_system import RunningSystem

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP: ViewportSize = {"width": 1280, "height": 800}

Newcomer = Callable[..., Person]

_numbers = itertools.count(1)


# Not for the whole run: while Playwright is open, its event loop runs in this thread, and Django
# would refuse to use the database in the tests that follow.
@pytest.fixture(scope="package")
def browser(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def newcomer(browser: Browser, system: RunningSystem) -> Iterator[Newcomer]:
    """Makes persons with a browser of their own. Whatever goes wrong on their pages fails the test.

    Keywords are those of Playwright's `new_context`.
    """
    people: list[Person] = []

    def arrive(name: str, **options: Any) -> Person:
        context = browser.new_context(
            **{"base_url": system.base_url, "viewport": DESKTOP, "locale": "en-GB"} | options
        )
        context.set_default_timeout(15_000)
        person = Person(f"{name}{next(_numbers)}", context, context.new_page())
        people.append(person)
        return person

    yield arrive
    for person in people:
        person.context.close()
    assert [problem for person in people for problem in person.problems] == []


@pytest.fixture
def dozen(tmp_path: Path) -> list[Path]:
    """Twelve pictures: nine photos from packages and three drawn ones."""
    photos = [
        "astronaut.png", "chelsea.png", "coffee.png", "coins.png", "motorcycle_left.png",
        "rocket.jpg", "moon.png", "china.jpg", "flower.jpg",
    ]  # fmt: skip
    drawn = []
    for number in range(3):
        drawn.append(tmp_path / f"shapes-{number}.jpg")
        drawn[-1].write_bytes(draw(number))
    return [*map(photo, photos), *drawn]
