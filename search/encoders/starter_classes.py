"""What the starter encoder knows about ImageNet's 1,000 classes: words, and their embeddings."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.encoders.base import l2_normalised

_DATA = Path(__file__).with_name("data")
_CLASSES = _DATA / "imagenet_classes.tsv"
_EVERYDAY_WORDS = _DATA / "everyday_words.tsv"

# How quickly a class answers a query less, the less alike their words are; what is seen around a
# thing counts this much beside the thing; and the sum of answers that is half as good as can be.
# Chosen with benchmarks/starter.py, where half and twice of each make little difference.
_TEMPERATURE = 0.08
_AROUND_WEIGHT = 0.25
_HALF_ANSWERED = 0.3


@dataclass(frozen=True, slots=True)
class ImageNetClass:
    """A class of ImageNet in words.

    WordNet's: its names, what kind of thing it is, its gloss. Everyday ones: what people call the
    thing, and what else such photos show: other things, people, places.
    """

    names: str
    kinds: tuple[str, ...]
    definition: str
    everyday: tuple[str, ...]
    around: tuple[str, ...]

    def descriptions(self) -> tuple[str, str]:
        """WordNet's words as two texts.

        The first keeps the name strong; the second brings in the other names, more general kinds
        ("bird", "musical instrument") and what the thing looks like or is for.
        """
        name = self.names.split(", ")[0]
        if not self.kinds:
            return name, f"{self.names}: {self.definition}"
        return (
            f"{name}, a kind of {' and '.join(self.kinds[:2])}",
            f"{self.names} ({', '.join(self.kinds)}): {self.definition}",
        )


@cache
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """The 1,000 classes, in the order of the classifier's outputs."""
    everyday = {
        number: row for row in _rows(_EVERYDAY_WORDS) for number in _numbers(row["classes"])
    }
    return tuple(
        ImageNetClass(
            names=row["names"],
            kinds=tuple(row["kinds"].split(", ")) if row["kinds"] else (),
            definition=row["definition"],
            everyday=tuple(everyday[number]["names"].split(", ")),
            around=tuple(everyday[number]["around"].split(", ")),
        )
        for number, row in enumerate(_rows(_CLASSES))
    )


@cache
def class_texts() -> tuple[str, ...]:
    """All texts of all classes, each once."""
    return tuple(
        dict.fromkeys(
            chain.from_iterable(
                (*each.descriptions(), *each.everyday, *each.around) for each in imagenet_classes()
            )
        )
    )


class ClassSpace:
    """The classes as they lie among sentences.

    ``texts`` are the sentence embeddings of class_texts(), normalised, ``(n, dimension)``.
    ``embeddings`` are the classes' own, ``(1000, dimension)``: the mean of both descriptions and of
    the mean of the everyday names.
    """

    def __init__(self, texts: NDArray[np.float32]) -> None:
        classes = imagenet_classes()
        descriptions = _Groups([each.descriptions() for each in classes])
        everyday = _Groups([each.everyday for each in classes])
        self._texts = texts
        self._names = _Groups([(*each.descriptions(), *each.everyday) for each in classes])
        self._around = _Groups([each.around for each in classes])
        self.embeddings = l2_normalised(2 * descriptions.means(texts) + everyday.means(texts))

    def answers(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """How well a photo of each class answers each query, ``(n, 1000)``.

        A class answers by whichever of its texts is most like the query, and by that alone: in a
        mean, "a cup" would be as like a teapot's texts as a cup's. Rows are near a length of 1 for
        what is a class or part of many, and near 0 for what no class answers.
        """
        similarities = queries @ self._texts.T
        things = np.exp((self._names.maxima(similarities) - 1) / _TEMPERATURE)
        around = np.exp((self._around.maxima(similarities) - 1) / _TEMPERATURE)
        sums = things + _AROUND_WEIGHT * around
        answers: NDArray[np.float32] = sums / (
            np.linalg.norm(sums, axis=1, keepdims=True) + _HALF_ANSWERED
        )
        return answers


class _Groups:
    """For each class some of class_texts()."""

    def __init__(self, groups: Sequence[Sequence[str]]) -> None:
        places = {text: place for place, text in enumerate(class_texts())}
        self._places = np.array([places[text] for group in groups for text in group])
        self._sizes = np.array([len(group) for group in groups])
        self._starts = np.cumsum(self._sizes) - self._sizes

    def means(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean of each class's rows."""
        sums = np.add.reduceat(rows[self._places], self._starts, axis=0)
        return np.asarray(sums / self._sizes[:, None], dtype=np.float32)

    def maxima(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of ``(n, texts)`` the maximum of each class's, ``(n, 1000)``."""
        maxima: NDArray[np.float32] = np.maximum.reduceat(
            rows[:, self._places], self._starts, axis=1
        )
        return maxima


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _numbers(ranges: str) -> Iterator[int]:
    """The numbers in "5-7,9"."""
    for part in ranges.split(","):
        first, _dash, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
