"""PostgreSQL's client programs, pointed at the database of the settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Any, cast

from django.db import connection

from t2isearch.backup.folder import BackupError
from t2isearch.embedded.postgres import newest_binaries

# The settings of a dump stand above these, whatever the rows below them hold.
HEADER_LINES = 30


def dump_database(dump: Path, *, snapshot: str) -> None:
    """Write what the exported `snapshot` sees to the file `dump`.

    Raises:
        BackupError
    """
    process = _start(
        *("pg_dump", "--format=custom", "--no-owner", f"--snapshot={snapshot}", f"--file={dump}"),
        stdout=DEVNULL,
        stderr=PIPE,
    )
    with ExitStack() as started:
        started.callback(process.kill)
        _, said = process.communicate()
    if process.returncode:
        raise BackupError(f"pg_dump failed: {said.decode(errors='replace').strip()}")


def restore_database(dump: Path, *, replaced_tables: Iterable[str]) -> None:
    """Have psql run the dump as a script, in one transaction, in the place of `replaced_tables`.

    Not pg_restore by itself: it stops at a setting that its own version writes at the beginning and
    that a server before PostgreSQL 17 does not know.

    Raises:
        BackupError: the database is as it was.
    """
    options = ("--clean", "--if-exists", "--no-owner", "--file=-")
    with tempfile.TemporaryFile() as complaints, ExitStack() as started:
        reader = _start("pg_restore", *options, str(dump), stdout=PIPE, stderr=complaints)
        started.callback(reader.kill)
        writer = _start(
            *("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=complaints,
        )
        started.callback(writer.kill)
        script, target = cast("IO[bytes]", reader.stdout), cast("IO[bytes]", writer.stdin)
        with suppress(BrokenPipeError):  # psql has ended, and said why
            target.write(b"BEGIN;\nSET LOCAL client_min_messages = warning;\n")
            # The dump replaces those it knows. Those of a newer version may refer to them, and
            # would be in the way of its migrations.
            for table in replaced_tables:
                name = connection.ops.quote_name(table)
                target.write(f"DROP TABLE IF EXISTS {name} CASCADE;\n".encode())
            for line in islice(script, HEADER_LINES):
                if not line.startswith(b"SET transaction_timeout"):
                    target.write(line)
            shutil.copyfileobj(script, target)
        script.close()
        # A script that was cut short is never committed.
        whole = reader.wait() == 0
        with suppress(BrokenPipeError):
            target.write(b"COMMIT;\n" if whole else b"ROLLBACK;\n")
            target.close()
        if writer.wait() or not whole:
            complaints.seek(0)
            reason = complaints.read().decode(errors="replace").strip()
            raise BackupError(f"The database could not be restored: {reason}")


def _start(program: str, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    settings = connection.settings_dict
    # The password is not for the list of processes that everybody can read.
    names = {"HOST": "PGHOST", "PORT": "PGPORT", "USER": "PGUSER", "PASSWORD": "PGPASSWORD"}
    address = {ours: str(settings[key]) for key, ours in names.items() if settings.get(key)}
    return subprocess.Popen(  # noqa: S603 - its arguments are ours
        [newest_binaries() / program, *arguments],
        env=os.environ | address | {"PGDATABASE": str(settings["NAME"])},
        **streams,
    )
