"""The timeline with many photos: first row, frames while scrolling and memory in a browser.

    python -m benchmarks.timeline [--photos 20000]

One small rendition is shared by all rows. Services, database and web server are its own and thrown
away at the end. Needs Chromium (the machine's, as the tests find it).
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measuring import print_table

RUNS = 5
WIDTH, HEIGHT = 1280, 800
PASSWORD = "correct horse battery"  # noqa: S105 - of an account that lives as long as the run
SHAPES = ((4000, 3000), (3000, 4000), (4000, 2250), (3000, 3000), (6000, 4000))
# Scrolls by so many pixels in each frame, and notes how long each took.
SCROLL = """
async ({ pixels, frames }) => {
  const durations = [];
  let last = performance.now();
  for (let frame = 0; frame < frames; frame += 1) {
    scrollBy(0, pixels);
    const now = await new Promise(requestAnimationFrame);
    durations.push(now - last);
    last = now;
  }
  return durations;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=20_000)
    count = parser.parse_args().photos
    with ExitStack() as stack:
        address = _start(stack)
        _make_photos(count)
        rows = [*_server(), *_browser(address)]
    print(f"{count} photos, {WIDTH} x {HEIGHT}, median of {RUNS} runs")
    print_table(("what", "value"), rows)


def _start(stack: ExitStack) -> str:
    """PostgreSQL and the web server; returns its address."""
    from t2isearch.embedded.child import Child, python_environment
    from t2isearch.embedded.processes import web
    from t2isearch.embedded.service import free_port, unconfigured_services, wait_for_service
    from t2isearch.embedded.state import Layout, own_secret_key

    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="t2isearch-bench-")))
    directory.chmod(0o711)
    layout = Layout(directory)
    layout.create()
    os.environ["VAR_DIR"] = str(directory)
    os.environ["MILVUS_URI"] = "http://127.0.0.1:1"  # there is none, and nothing asks for it
    own_secret_key(layout)
    for service in unconfigured_services(layout):
        child = Child(service.program(), layout, python_environment(layout))
        child.start()
        stack.callback(child.stop)
        wait_for_service(service, child)
        os.environ[service.variable] = service.address

    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "t2isearch.settings"
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)
    port = free_port()
    server = Child(web(host="127.0.0.1", port=port), layout, python_environment(layout))
    server.start()
    stack.callback(server.stop)
    return f"http://127.0.0.1:{port}"


def _make_photos(count: int) -> None:
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage
    from PIL import Image

    from accounts.models import User
    from gallery.models import Photo
    from gallery.renditions import make_renditions

    buffer = io.BytesIO()
    noise = Image.effect_noise((512, 384), 60).convert("RGB")
    noise.save(buffer, "JPEG", quality=80)
    renditions = make_renditions(io.BytesIO(buffer.getvalue()))
    thumbnail = default_storage.save("bench/512.jpg", ContentFile(renditions.thumbnail))
    owner = User.objects.create_user("ann", "ann@example.com", PASSWORD)
    choose = random.Random(1)
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    photos = []
    for number in range(count):
        # Some ten photos a day, over five years.
        moment -= timedelta(minutes=choose.expovariate(1 / 130))
        width, height = choose.choice(SHAPES)
        photos.append(
            Photo(
                owner=owner, original=thumbnail, sha256=f"{number:064x}", size_bytes=3_000_000,
                filename=f"IMG_{number:05}.jpg", media_type="image/jpeg", width=width,
                height=height, taken_at=moment, state="ready", thumbnail=thumbnail,
                thumbnail_width=512, thumbnail_height=384, preview=thumbnail,
                placeholder=renditions.placeholder,
            )
        )  # fmt: skip
    Photo.objects.bulk_create(photos, batch_size=2000)


def _server() -> list[tuple[str, str]]:
    from django.db import connection

    from accounts.models import User
    from gallery.models import Photo
    from gallery.timeline import in_timeline, items, outline

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE gallery_photo")
    photos = in_timeline(Photo.objects.owned_by(User.objects.get()))
    body = json.dumps({"days": outline(photos)}).encode()
    last = photos.count() - 200
    return [
        ("outline, server", f"{_milliseconds(lambda: outline(photos)):.0f} ms"),
        (
            "outline, size",
            f"{len(body) / 1000:.0f} KB, {len(gzip.compress(body)) / 1000:.0f} KB with gzip",
        ),
        ("100 tiles, first", f"{_milliseconds(lambda: items(photos, start=0, count=100)):.0f} ms"),
        (
            "100 tiles, last",
            f"{_milliseconds(lambda: items(photos, start=last, count=100)):.0f} ms",
        ),
    ]


def _milliseconds(call: Any) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def _browser(address: str) -> list[tuple[str, str]]:
    from playwright.sync_api import ViewportSize, sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        page = browser.new_page(viewport=ViewportSize(width=WIDTH, height=HEIGHT))
        page.goto(f"{address}/accounts/login/")
        page.get_by_label("Username or email").fill("ann")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector(".tile img.thumbnail")

        def first_row() -> tuple[float, float]:
            page.goto(address)
            page.wait_for_selector(".tile img.thumbnail")
            laid_out = page.evaluate("performance.getEntriesByName('timeline-shown')[0].startTime")
            page.wait_for_function("document.querySelector('.tile img.thumbnail').complete")
            return float(laid_out), float(page.evaluate("performance.now()"))

        firsts = [first_row() for _ in range(RUNS)]
        page.wait_for_timeout(1000)
        steady = page.evaluate(SCROLL, {"pixels": 60, "frames": 300})
        flying = page.evaluate(SCROLL, {"pixels": 3000, "frames": 100})
        page.wait_for_timeout(1500)
        session = page.context.new_cdp_session(page)
        session.send("HeapProfiler.collectGarbage")
        heap = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
        elements = page.evaluate("document.getElementsByTagName('*').length")
        shown = page.locator(".tile").count()
        browser.close()
    return [
        ("rows laid out after", f"{statistics.median(each[0] for each in firsts):.0f} ms"),
        ("first picture after", f"{statistics.median(each[1] for each in firsts):.0f} ms"),
        ("scrolling, 60 px a frame", _frames(steady)),
        ("scrolling, 3000 px a frame", _frames(flying)),
        ("script memory", f"{heap:.1f} MB"),
        ("elements in the document", f"{elements}, {shown} of them tiles"),
    ]


def _frames(durations: list[float]) -> str:
    ordered = sorted(durations[1:])
    return (
        f"median {statistics.median(ordered):.1f} ms, "
        f"99 % under {ordered[int(len(ordered) * 0.99)]:.0f} ms, longest {ordered[-1]:.0f} ms"
    )


if __name__ == "__main__":
    main()
