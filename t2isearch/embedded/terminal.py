"""What the person who started the system sees: spinners on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.text import Text


class _LastingConsole(Console):
    """A console whose reader may go away (`make run | head`, a closed window) without harm."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Terminal:
    """Writes lines and the progress of steps. Never fails: to stop in order needs no reader."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _LastingConsole(highlight=False)
        self._done = "*" if self._console.options.ascii_only else "✓"

    def say(self, text: str = "", *, style: str = "") -> None:
        """One line, as it is."""
        with suppress(OSError):
            self._console.print(Text(text, style=style), soft_wrap=True)

    def warn(self, text: str) -> None:
        self.say(text, style="yellow")

    def fail(self, text: str) -> None:
        self.say(text, style="bold red")

    @contextmanager
    def step(
        self, doing: str, done: str | Callable[[], str], *, spinner: bool = True
    ) -> Iterator[Callable[[str], None]]:
        """Show that `doing` goes on, and, unless it fails, `done` with the time it took.

        `done` may be a function where the step decides what was done; of "" nothing is shown.

        Yields a function that shows a detail beside the spinner. A step that writes to the terminal
        itself goes without one.
        """
        started = time.monotonic()
        if spinner and self._console.is_terminal:
            with self._console.status(Text(f"{doing} ...")) as status:
                yield lambda detail: status.update(Text(f"{doing} ... {detail}"))
        else:
            self.say(f"{doing} ...")
            yield lambda detail: None
        if not isinstance(done, str):
            done = done()
        if done:
            took_s = time.monotonic() - started
            self.say(f"{self._done} {done} ({took_s:.1f} s)", style="green")

    def facts(self, facts: dict[str, str]) -> None:
        """Names and values, one a line, the values below one another."""
        width = max(map(len, facts))
        for name, value in facts.items():
            self.say(f"  {name:<{width}}  {value}")
