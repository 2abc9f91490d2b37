"""`python -m t2isearch.embedded`: the whole system on one machine: run, stop, save, restore it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from t2isearch.embedded.installation import installation_problem

if TYPE_CHECKING:
    from t2isearch.embedded.lock import Owner
    from t2isearch.embedded.state import Layout

# What `manage.py restore` ends with when all that can be is back, and some photos lack files.
WITH_FAULTS = 3


def main() -> int | str:
    """Returns an exit code, or the sentence to end with."""
    arguments = _parse_arguments()
    # Before any other package is imported.
    if problem := installation_problem():
        return problem
    return {
        "run": _run,
        "status": _status,
        "stop": _stop,
        "backup": _backup,
        "restore": _restore,
    }[arguments.command](arguments)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m t2isearch.embedded",
        description="The whole system on one machine: what is not configured is brought along.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="start everything; Ctrl-C or SIGTERM stops it")
    run.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    run.add_argument("--port", type=_port, default=8000, help="port to listen on (%(default)s)")
    commands.add_parser("status", help="say whether it runs, and where")
    commands.add_parser("stop", help="stop what another terminal started")
    backup = commands.add_parser("backup", help="save everything, whether it runs or not")
    backup.add_argument("folder", type=Path, help="a new or empty folder")
    restore = commands.add_parser("restore", help="put a backup back into an empty VAR_DIR")
    restore.add_argument("folder", type=Path, help="the folder of the backup")
    restore.add_argument(
        "--accept-damage", action="store_true", help="put back what there is of a damaged backup"
    )
    return parser.parse_args()


def _port(text: str) -> int:
    if not 0 < (number := int(text)) < 65536:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return number


def _run(arguments: argparse.Namespace) -> int | str:
    from t2isearch.embedded.lock import AlreadyRunningError
    from t2isearch.embedded.state import Layout, read_dotenv, var_dir
    from t2isearch.embedded.supervisor import Supervisor
    from t2isearch.embedded.terminal import Terminal

    read_dotenv()
    layout = Layout(var_dir())
    if problem := _create(layout):
        return problem
    supervisor = Supervisor(
        layout=layout, host=arguments.host, port=arguments.port, terminal=Terminal()
    )
    try:
        return supervisor.run()
    except AlreadyRunningError as error:
        return _already_runs(layout, error.owner)


def _create(layout: Layout) -> str | None:
    """Make the directories; the sentence to end with where that fails."""
    try:
        layout.create()
    except OSError as error:
        return (
            f"{error.filename} cannot be used ({error.strerror}): set VAR_DIR to another directory."
        )
    return None


def _already_runs(layout: Layout, owner: Owner | None) -> str:
    at = f": process {owner.pid} at {owner.address}" if owner else ""
    return f"t2isearch already runs on {layout.root}{at}"


def _status(arguments: argparse.Namespace) -> int | str:
    from t2isearch.embedded.child import find_recorded
    from t2isearch.embedded.lock import lock_owner
    from t2isearch.embedded.state import Layout, read_dotenv, var_dir
    from t2isearch.embedded.terminal import Terminal

    read_dotenv()
    layout = Layout(var_dir())
    if (owner := lock_owner(layout.lock)) is None:
        return f"Nothing runs on {layout.root}."
    terminal = Terminal()
    terminal.say(f"t2isearch runs at {owner.address} on {layout.root}")
    terminal.facts(
        {"supervisor": f"process {owner.pid}"}
        | {child.name: f"process {child.process.pid}" for child in find_recorded(layout)}
    )
    return 0


def _stop(arguments: argparse.Namespace) -> int | str:
    from t2isearch.embedded.lock import lock_owner
    from t2isearch.embedded.state import Layout, read_dotenv, var_dir

    read_dotenv()
    layout = Layout(var_dir())
    if (owner := lock_owner(layout.lock)) is None:
        return f"Nothing runs on {layout.root}."
    os.kill(owner.pid, signal.SIGTERM)
    while lock_owner(layout.lock) == owner:
        time.sleep(0.1)
    return 0


def _backup(arguments: argparse.Namespace) -> int | str:
    from t2isearch.embedded.child import python_environment
    from t2isearch.embedded.lock import lock_owner
    from t2isearch.embedded.maintenance import manage
    from t2isearch.embedded.state import Layout, read_dotenv, var_dir

    read_dotenv()
    layout = Layout(var_dir())
    command = ("backup", str(arguments.folder.absolute()))
    if lock_owner(layout.lock) is not None:
        return manage(python_environment(layout), *command)
    if not layout.root.exists():
        return f"There is nothing to save in {layout.root}."
    return _manage_alone(layout, [command])


def _restore(arguments: argparse.Namespace) -> int | str:
    from t2isearch.embedded.state import Layout, read_dotenv, var_dir

    read_dotenv()
    options = ["--accept-damage"] if arguments.accept_damage else []
    commands = [("restore", str(arguments.folder.absolute()), "--no-index", *options)]
    if os.environ.get("S3_BUCKET"):
        commands.insert(0, ("prepare_storage",))
    return _manage_alone(Layout(var_dir()), commands, afterwards="Start it with `make run`.")


def _manage_alone(
    layout: Layout, commands: Sequence[Sequence[str]], *, afterwards: str = ""
) -> int | str:
    from t2isearch.embedded.lock import AlreadyRunningError
    from t2isearch.embedded.maintenance import manage_alone
    from t2isearch.embedded.postgres import UnusableDataError
    from t2isearch.embedded.service import StartFailedError
    from t2isearch.embedded.terminal import Terminal

    if problem := _create(layout):
        return problem
    terminal = Terminal()
    try:
        code = manage_alone(layout, terminal, commands)
    except AlreadyRunningError as error:
        return f"{_already_runs(layout, error.owner)}. Stop it first."
    except (StartFailedError, UnusableDataError) as error:
        return "\n".join([*getattr(error, "last_lines", []), str(error)])
    if afterwards and code in {0, WITH_FAULTS}:
        terminal.say(afterwards)
    return code


if __name__ == "__main__":
    sys.exit(main())
