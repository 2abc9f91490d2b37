"""How often passwords may be tried: counted by django-allauth, for the pages and the API together.

Each guess counts three times: for the address that it comes from, for what it is at from this
address, and for what it is at wherever it comes from. The last limit is the widest, so that one
stranger alone keeps nobody out of their own account. `ACCOUNT_RATE_LIMITS` holds the rates.
"""

from __future__ import annotations

from dataclasses import dataclass

from allauth.core.internal import ratelimit
from django.http import HttpRequest

APP = "allauth.account"


@dataclass(frozen=True, slots=True)
class Guess:
    """A guess that may be made. It counts before it is looked at: of many at once no more do."""

    usages: tuple[ratelimit.RateLimitUsage, ...]

    def was_right(self) -> None:
        """Count it no longer; what was guessed wrong before still counts."""
        for usage in self.usages:
            usage.rollback()


def count_guess(request: HttpRequest, *, action: str, of: str) -> Guess | None:
    """Count a guess at `of` under the rates of `action`; None when it may not be made."""
    usages = []
    for name, key in [(f"{action}_from_address", ""), *_keys(request, action, of)]:
        usage = ratelimit.consume(request, app=APP, action=name, key=key)
        if usage is None:
            return None
        usages.append(usage)
    return Guess(tuple(usages))


def forget_guesses(request: HttpRequest, *, action: str, of: str) -> None:
    """Begin anew, for who has proved another way who they are. Their address still counts."""
    for name, key in _keys(request, action, of):
        ratelimit.clear(request, app=APP, action=name, key=key)


def _keys(request: HttpRequest, action: str, of: str) -> list[tuple[str, str]]:
    return [(action, f"{of} from {ratelimit.get_ip(request)}"), (f"{action}_anywhere", of)]
