"""Why a picture is not decoded."""

from __future__ import annotations

from enum import StrEnum


class Problem(StrEnum):
    NO_PICTURE = "no_picture"
    TOO_MANY_PIXELS = "too_many_pixels"
    DAMAGED = "damaged"
    TOO_SLOW = "too_slow"
    TOO_MUCH_MEMORY = "too_much_memory"
    # The decoder ended, or answered what no decoder of ours answers.
    CRASHED = "crashed"


class BadPicture(Exception):
    """A picture that is not decoded, now or later; `detail` is for the log."""

    def __init__(self, problem: Problem, detail: str = "") -> None:
        super().__init__(problem.value, detail)
        self.problem = problem
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.problem}: {self.detail}" if self.detail else self.problem.value
