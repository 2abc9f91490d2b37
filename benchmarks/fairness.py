"""How long a single upload takes to be searchable while others have much to do.

    python -m benchmarks.fairness [--size ViT-B/32] [--backlog 500] [--uploads 7]

Starts the embedded mode (random weights). A person uploads one photo of 1 megapixel after the other
over the API, with a pause in between: on the idle system, then behind what somebody else has just
sent over the API, behind an import on the command line, and while all photos are indexed anew. Each
time is from the first byte sent to the photo being searchable. `left` is what the others still had
waiting when the last upload was searchable: with 0, they were not in the way all the time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

import psycopg

from benchmarks.ingest import pictures
from benchmarks.measuring import print_table
from benchmarks.models import SIZES, model_folder
from t2isearch.embedded.state import published_environment
from tests.api_client import ApiClient
from tests.running_system import RunningSystem

SIZE = (1152, 864)
CLIENTS = 3  # as the page of uploads sends
PATIENCE_S = 600.0
PAUSE_S = 0.5
_IS_SEARCHABLE = "SELECT 1 FROM search_photoindexing WHERE photo_id = %s AND indexed_at IS NOT NULL"

_first = count(10**6, 10**4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="ViT-B/32")
    parser.add_argument("--backlog", type=int, default=500)
    parser.add_argument("--uploads", type=int, default=7)
    arguments = parser.parse_args()
    environment = {
        "SEARCH_ENCODER": str(model_folder(arguments.size)),
        "UPLOAD_RATE": "1000000/minute",
    }
    rows = []
    with tempfile.TemporaryDirectory(prefix="t2isearch-bench-") as folder:
        Path(folder).chmod(0o711)
        with RunningSystem.start(Path(folder) / "system", environment=environment) as system:
            one, other = (ApiClient.of_new_person(system, name) for name in ("one", "other"))
            _seconds(one, system, arguments.uploads)  # warm
            quiet = statistics.median(_seconds(one, system, arguments.uploads))
            rows.append(["nothing", f"{quiet:.2f}", "1.0", ""])
            backlogs: dict[str, Callable[[], object]] = {
                "another's uploads": partial(_upload_all, other, arguments.backlog),
                "another's import": partial(_import, system, arguments.backlog),
                "a re-index": partial(system.manage, "reindex", "--all"),
            }
            for name, begin in backlogs.items():
                begin()
                median = statistics.median(_seconds(one, system, arguments.uploads))
                left = _waiting(system)
                rows.append([name, f"{median:.2f}", f"{median / quiet:.1f}", str(left)])
                system.wait_until(lambda: not _waiting(system), PATIENCE_S, "nothing waits")
    print_table(("behind", "seconds", "ratio", "left"), rows)


def _files(number: int) -> Iterator[bytes]:
    """Files that nobody has sent yet."""
    return pictures(SIZE, number, first=next(_first))


def _seconds(client: ApiClient, system: RunningSystem, uploads: int) -> list[float]:
    """From being sent to being searchable, of one upload after the other."""
    times = []
    address = published_environment(system.layout)["DATABASE_URL"]
    with psycopg.connect(address, autocommit=True) as database:
        for file in _files(uploads):
            started = time.perf_counter()
            answer = client.upload("one.jpg", file)
            assert answer.status == 201, answer.text
            while not database.execute(_IS_SEARCHABLE, [answer.data["id"]]).fetchone():
                assert time.perf_counter() - started < PATIENCE_S
                time.sleep(0.01)
            times.append(time.perf_counter() - started)
            time.sleep(PAUSE_S)
    return times


def _upload_all(client: ApiClient, photos: int) -> None:
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(partial(client.upload, "photo.jpg"), _files(photos)))
    assert all(answer.status == 201 for answer in answers), answers[0].text


def _import(system: RunningSystem, photos: int) -> None:
    with tempfile.TemporaryDirectory(prefix="t2isearch-bench-") as folder:
        for number, file in enumerate(_files(photos)):
            (Path(folder) / f"{number}.jpg").write_bytes(file)
        done = system.manage("import_photos", "--user", "other", folder)
    assert done.returncode == 0, done.stderr


def _waiting(system: RunningSystem) -> int:
    """How many photos wait for being rendered or embedded."""
    ((count,),) = system.query(
        "SELECT (SELECT count(*) FROM gallery_photo WHERE state = 'processing')"
        " + (SELECT count(*) FROM search_photoindexing WHERE state = 'pending')"
    )
    return int(count)


if __name__ == "__main__":
    main()
