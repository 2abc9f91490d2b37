"""What people do with the site, mixed: looking through photos, searching, adding some.

`python -m benchmarks.load` runs it in steps. By itself, on a running system:

    LOAD_PEOPLE=people.json locust --locustfile benchmarks/load/locustfile.py --host http://…

with a list of `{"session": …, "token": …}` in `people.json`. An answer 429 is what a system that is
asked for too much should say: it is counted apart, and a failure only without `Retry-After`.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import random
from pathlib import Path
from typing import Any

from locust import FastHttpUser, between, task
from PIL import Image

PEOPLE = itertools.cycle(json.loads(Path(os.environ["LOAD_PEOPLE"]).read_text()))
WORDS = (
    "a dog", "a cat on a sofa", "something to drink from", "mountains", "a boat on the water",
    "birds", "a car", "flowers", "musical instruments", "food on a plate", "a clock", "a bridge",
)  # fmt: skip
# As many thumbnails as a screen of the timeline has.
SCREEN = 24
UPLOAD_SIZE = (1600, 1200)


class Person(FastHttpUser):  # type: ignore[misc]
    abstract = True
    wait_time = between(1, 3)

    def on_start(self) -> None:
        self.person = next(PEOPLE)
        self.client.client.default_headers["Cookie"] = f"sessionid={self.person['session']}"

    def ask(self, method: str, path: str, name: str, **options: Any) -> Any:
        """Send a request; what came back, or None when it was put off."""
        with self.client.request(
            method, path, name=name, catch_response=True, allow_redirects=False, **options
        ) as response:
            if response.status_code == 429 and response.headers.get("Retry-After"):
                response.success()
                self.environment.events.request.fire(
                    request_type="429", name=name, response_time=0, response_length=0,
                    exception=None, context={},
                )  # fmt: skip
                return None
            if response.status_code >= 300:
                response.failure(f"{response.status_code}: {response.text[:200]}")
                return None
            response.success()
            return response


class Looking(Person):
    """Opens the timeline, scrolls somewhere, opens a photo."""

    weight = 6

    @task
    def look(self) -> None:
        self.ask("GET", "/", "timeline")
        days = self.ask("GET", "/timeline/days/", "timeline: days")
        if days is None:
            return
        total = sum(len(shapes) for _day, shapes in days.json()["days"])
        start = random.randrange(max(1, total - SCREEN))
        tiles = self.ask("GET", f"/timeline/tiles/?start={start}&count={SCREEN}", "timeline: tiles")
        if tiles is None:
            return
        photos = [item["id"] for item in tiles.json()["items"] if item["shown"]]
        for photo in photos:
            self.ask("GET", f"/photos/{photo}/thumbnail/", "thumbnail")
        if photos:
            chosen = random.choice(photos)
            self.ask("GET", f"/photos/{chosen}/", "photo")
            self.ask("GET", f"/photos/{chosen}/preview/", "preview")


class Searching(Person):
    """Searches with words, half of the time with ones that nobody used before."""

    weight = 3

    @task
    def search(self) -> None:
        words = random.choice(WORDS)
        if random.random() < 0.5:
            words += f" {random.randrange(10**6)}"
        self.ask(
            "GET", "/search/", "search", params={"q": words, "weak": "true"},
            headers={"HX-Request": "true"},
        )  # fmt: skip


class Adding(Person):
    """Adds a photo that is not there yet."""

    weight = 1

    def on_start(self) -> None:
        super().on_start()
        picture = Image.effect_noise((200, 150), 60).resize(UPLOAD_SIZE)
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=88)
        self.file = buffer.getvalue()

    @task
    def add(self) -> None:
        # A comment (marker COM) after the start makes it another file.
        comment = b"\xff\xfe\x00\x12" + os.urandom(16)
        content = self.file[:2] + comment + self.file[2:]
        boundary = "a-boundary-of-the-load-test"
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode() + content
        self.ask(
            "POST", "/api/v1/photos/", "upload",
            data=body + f"\r\n--{boundary}--\r\n".encode(),
            headers={
                "Authorization": f"Token {self.person['token']}",
                "Content-Type": f"multipart/form-data; boundary={boundary}",
            },
        )  # fmt: skip
