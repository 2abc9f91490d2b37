from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import User
from gallery.formats import FILE_SUFFIXES
from gallery.services import add_photo
from gallery.storage import StorageUnavailable
from gallery.validators import NotDecodedNow, RejectedUpload
from t2isearch.interrupts import INTERRUPTED, interrupts
from t2isearch.leases import Priority
from t2isearch.progress import progress_report


@dataclass(slots=True)
class ImportReport:
    """What became of the files: how many were added or known, and which were refused and why."""

    added: int = 0
    known: int = 0
    refused: list[tuple[Path, str]] = field(default_factory=list)

    def lines(self) -> list[str]:
        counts = f"{self.added} added, {self.known} already there, {len(self.refused)} refused."
        return [counts, *(f"  {readable(path)}: {reason}" for path, reason in self.refused)]


class ImportCommand(BaseCommand):
    """A command that brings files into someone's gallery."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="the owner's user name")

    def import_files(self, owner: User, files: Sequence[Path]) -> None:
        """Add `files` and write what became of them.

        Raises:
            CommandError: it was stopped, by Ctrl-C or as the storage is away. What was added
                stays: each file has a transaction of its own.
        """
        report = ImportReport()
        reason = ""
        with interrupts() as stop:
            try:
                with progress_report("Importing", len(files)) as say:
                    for done, path in enumerate(files, 1):
                        if stop:
                            break
                        import_file(owner, path, report)
                        say(done, None)
            except StorageUnavailable as fault:
                reason = f" ({fault})"  # it would be the same with the others
            except BaseException:
                # Impatience: whatever the second Ctrl-C broke off comes out as anything.
                if not stop:
                    raise
        done = report.added + report.known + len(report.refused)
        if done < len(files):
            raise CommandError(
                f"Stopped after {done} of {len(files)} files, {report.added} added{reason}: "
                "run the same command again to go on.",
                returncode=INTERRUPTED if stop else 1,
            )
        for line in report.lines():
            self.stdout.write(line)


class Command(ImportCommand):
    help = "Take the pictures of a folder, and of all folders in it, into someone's gallery."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        super().add_arguments(parser)

    def handle(self, *args: Any, folder: Path, user: str, **options: Any) -> None:
        if not folder.is_dir():
            raise CommandError(f"{readable(folder)} is not a folder.")
        self.import_files(owner_named(user), sorted(pictures_in(folder)))


def owner_named(name: str) -> User:
    """Raises CommandError when there is no such person."""
    owner = User.objects.filter(username__iexact=name).first()
    if owner is None:
        raise CommandError(f"There is no user named {name}.")
    return owner


def pictures_in(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in FILE_SUFFIXES and not path.is_dir()
    )


def import_file(owner: User, path: Path, report: ImportReport) -> None:
    """Add one file to `owner`'s gallery and note in `report` what became of it."""
    try:
        with path.open("rb") as opened:
            result = add_photo(
                owner=owner, file=File(opened), filename=path.name, priority=Priority.IMPORT
            )
    except RejectedUpload as rejected:
        report.refused.append((path, " ".join(rejected.messages)))
    except NotDecodedNow as not_now:
        report.refused.append((path, f"It can't be decoded right now, try again: {not_now}."))
    except OSError as error:
        report.refused.append((path, f"The file can't be read: {error.strerror}."))
    else:
        report.known += result.duplicate
        report.added += not result.duplicate


def readable(path: Path) -> str:
    """The path as it can be written anywhere: names on disk need not be valid text."""
    return os.fsencode(path).decode(errors="replace")
