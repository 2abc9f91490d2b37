from __future__ import annotations

import os
import random
import re
import signal
import time
import traceback
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from rich.console import Console

from accounts.models import User
from gallery.management.commands import import_photos
from gallery.models import Photo
from gallery.services import add_photo
from t2isearch import progress
from tests.conftest import draw_picture
from tests.gallery.test_provisional import nothing_is_lost


def run(*args: str | Path, command: str = "import_photos", user: str = "ann") -> list[str]:
    written = StringIO()
    call_command(command, *map(str, args), user=user, stdout=written)
    return written.getvalue().splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, one of them twice, and files that are none."""
    folder = tmp_path / "photos"
    for number in range(5):
        path = folder / f"{number}" / "deeper" / f"picture {number}.JPG"
        path.parent.mkdir(parents=True)
        path.write_bytes(draw_picture(number))
    (folder / "twice.jpeg").write_bytes(draw_picture(0))
    (folder / "notes.txt").write_text("no picture")
    (folder / "album.jpg").mkdir()
    return folder


def test_pictures_of_all_folders_are_taken_in(ann: User, folder: Path) -> None:
    assert run(folder, user="ANN") == ["5 added, 1 already there, 0 refused."]
    assert {photo.filename for photo in Photo.objects.all()} == {
        f"picture {number}.JPG" for number in range(5)
    }
    assert {photo.owner for photo in Photo.objects.all()} == {ann}
    assert run(folder) == ["0 added, 6 already there, 0 refused."]


def test_what_was_refused_is_listed_with_its_reason(ann: User, folder: Path) -> None:
    (folder / "cut.jpg").write_bytes(draw_picture(9)[:900])
    (folder / "empty.png").write_bytes(b"")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.gif"))
    odd.write_bytes(b"<svg/>")
    head, *reasons = run(folder)
    assert head == "5 added, 1 already there, 4 refused."
    assert reasons == [
        f"  {folder}/cut.jpg: The picture is damaged or incomplete.",
        f"  {folder}/empty.png: The file is empty.",
        f"  {folder}/gone.png: The file can't be read: No such file or directory.",
        f"  {folder}/\ufffd.gif: This is not a picture, or one in a format that can't be read.",
    ]


@pytest.mark.parametrize(
    ("path", "user", "sentence"),
    [("nowhere", "ann", "nowhere is not a folder."), (".", "eve", "There is no user named eve.")],
)
def test_what_cannot_be_imported_is_said(ann: User, path: str, user: str, sentence: str) -> None:
    with pytest.raises(CommandError, match=f"^{sentence}$"):
        run(path, user=user)


def test_stopped_in_the_middle_it_finishes_the_file_and_says_how_to_go_on(
    ann: User, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def stopped(**arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return add_photo(**arguments)

    monkeypatch.setattr(import_photos, "add_photo", stopped)
    with pytest.raises(CommandError) as stop:
        run(folder)
    assert str(stop.value) == (
        "Stopped after 3 of 6 files, 3 added: run the same command again to go on."
    )
    assert stop.value.returncode == 130
    assert Photo.objects.count() == 3
    monkeypatch.setattr(import_photos, "add_photo", add_photo)
    assert run(folder) == ["2 added, 4 already there, 0 refused."]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.django_db(transaction=True)
def test_stopped_at_any_moment_nothing_is_lost(folder: Path, media: Path, times: int) -> None:
    """The second Ctrl-C ends it in the middle of whatever it does then."""
    User.objects.create_user("ann", "ann@example.com", "x")
    moments = random.Random(times)
    for number in range(10):
        for path in folder.rglob("picture*"):
            path.write_bytes(draw_picture(1, size=(100 + number, 50 + moments.randrange(500))))
        report, its_report = os.pipe()

        def imported(into: int = its_report) -> int:
            os.dup2(into, 2)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                run(folder)
            except CommandError as error:
                os.write(into, f"{error}\n".encode())
                return int(error.returncode)
            return 0

        connection.close()
        if (child := os.fork()) == 0:
            code = 1
            try:
                code = imported()
            except BaseException:
                traceback.print_exc(file=open(its_report, "w", closefd=False))  # noqa: SIM115
            finally:
                os._exit(code)
        os.close(its_report)
        with open(report, encoding="utf-8") as lines:  # noqa: PTH123 - a pipe
            lines.readline()  # it is at work
            time.sleep(moments.uniform(0, 0.3))
            for _ in range(times):
                os.kill(child, signal.SIGINT)
                time.sleep(moments.uniform(0, 0.03))
            rest = lines.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in {0, 130}
        assert "Traceback" not in rest
        nothing_is_lost(media)
    assert run(folder)[0].endswith("already there, 0 refused.")


def test_lines_where_there_is_no_terminal(
    ann: User, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 1000, 4))  # each file takes four seconds
    # Its own clock alone: decoders are waited for by the real one.
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr("t2isearch.progress.time", clock)
    run(folder)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Importing: 2 of 6 (33%), 0.2/s, 0:00:16 left"
    assert lines[-1].startswith("Importing: 6 of 6 (100%)")
    assert len(lines) < 6


def test_a_bar_on_a_terminal(ann: User, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    run(folder)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue()).split("\r")[-1]
    assert re.search(r"Importing .* 6/6 .*0:00:00", last)


def test_nothing_to_import(ann: User, tmp_path: Path) -> None:
    assert run(tmp_path) == ["0 added, 0 already there, 0 refused."]


def test_the_samples(ann: User) -> None:
    assert run(command="load_samples") == ["12 added, 0 already there, 0 refused."]
    assert run(command="load_samples") == ["0 added, 12 already there, 0 refused."]
    assert Photo.objects.count() == 12
