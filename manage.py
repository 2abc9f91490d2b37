#!/usr/bin/env python
"""Django's command line."""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130  # what a shell reports for a command that was stopped with Ctrl-C


def main() -> None:
    # While modules are loaded there is nothing to be left in order.
    signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(INTERRUPTED))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "t2isearch.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed in this Python: `make install`, then .venv/bin/python.")
    from django.db import OperationalError

    from t2isearch.embedded.state import not_running_hint

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        hint = not_running_hint()
        if hint is None:
            raise
        sys.exit(f"{hint}\n({str(error).splitlines()[0]})")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left to do is to end
