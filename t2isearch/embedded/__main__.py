"""`python -m t2isearch.embedded`: run, look at and stop the whole system on one machine."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from t2isearch.embedded.installation import installation_problem


def main() -> int | str:
    """Returns an exit code, or the sentence to end with."""
    arguments = _parse_arguments()
    # Before any other package is imported.
    if problem := installation_problem():
        return problem
    return {"run": _run, "status": _status, "stop": _stop}[arguments.command](arguments)


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
    try:
        layout.create()
    except OSError as error:
        return (
            f"{error.filename} cannot be used ({error.strerror}): set VAR_DIR to another directory."
        )
    supervisor = Supervisor(
        layout=layout, host=arguments.host, port=arguments.port, terminal=Terminal()
    )
    try:
        return supervisor.run()
    except AlreadyRunningError as error:
        owner = f": process {error.owner.pid} at {error.owner.address}" if error.owner else ""
        return f"t2isearch already runs on {layout.root}{owner}"


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


if __name__ == "__main__":
    sys.exit(main())
