"""How good a search is: retrieval measures over photos whose right answers are known."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageOps

from accounts.models import User
from gallery.models import Photo
from search.encoders import (
    Embedding,
    EncoderInfo,
    EncodingError,
    load_image_encoder,
    load_text_encoder,
)

_PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_LONG_SIDE = 512  # of the rendition that the index is built from
_BATCH = 16

LabelledPhotos = Mapping[str, Callable[[], Image.Image | None]]
"""Photos by name; each is opened by calling it, None when it is unreadable."""


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A query with the names (file names without their suffix) of all photos that answer it."""

    text: str
    relevant: frozenset[str]


@dataclass(frozen=True, slots=True)
class QueryScore:
    """How one query did: its average precision and its recall at each k."""

    query: LabelledQuery
    average_precision: float
    recall: dict[int, float]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """An encoder's figures over a folder of photos.

    ``unreadable`` names the photos that could not be embedded, and so are found by no query. The
    times are wall-clock means in seconds: of a photo in batches, decoding left out, and of a query
    by itself.
    """

    encoder: EncoderInfo
    photos: int
    unreadable: tuple[str, ...]
    scores: tuple[QueryScore, ...]
    seconds_per_photo: float
    seconds_per_query: float

    @property
    def mean_average_precision(self) -> float:
        """The mean of the queries' average precisions."""
        return float(np.mean([score.average_precision for score in self.scores]))

    @property
    def mean_recall(self) -> dict[int, float]:
        """The mean of the queries' recalls, by k."""
        return {
            k: float(np.mean([score.recall[k] for score in self.scores]))
            for k in self.scores[0].recall
        }


def average_precision(ranked_ids: Sequence[str], relevant: Collection[str]) -> float:
    """The mean, over all relevant ids, of the precision at each one's rank.

    A relevant id that is not ranked counts as 0. Raises ValueError when nothing is relevant.
    """
    _require_some(relevant)
    is_relevant = np.array([ranked_id in relevant for ranked_id in ranked_ids], dtype=bool)
    ranks = np.flatnonzero(is_relevant) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).sum() / len(relevant))


def recall_at_k(ranked_ids: Sequence[str], relevant: Collection[str], k: int) -> float:
    """The share of the relevant ids among the first ``k``; ValueError when nothing is relevant."""
    _require_some(relevant)
    return sum(ranked_id in relevant for ranked_id in ranked_ids[:k]) / len(relevant)


def read_queries(path: Path) -> list[LabelledQuery]:
    """Read lines of a query, a tab, and the names of the relevant photos with spaces between.

    Raises ValueError, with the line's number, for a line that is not so.
    """
    queries = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
            if not row:
                continue
            if len(row) != 2 or not row[0].strip() or not row[1].split():
                raise ValueError(f"{path}, line {number}: not a query, a tab and photo names")
            queries.append(LabelledQuery(row[0].strip(), frozenset(row[1].split())))
    return queries


def photos_in(folder: Path) -> LabelledPhotos:
    """The photos of a folder, by their file names without suffix."""
    return {
        path.stem: partial(_rendition, path)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _PHOTO_SUFFIXES
    }


def photos_of(owner: User) -> LabelledPhotos:
    """A person's own photos, by their file names without suffix; of the same name, the newest."""
    own = Photo.objects.owned_by(owner).filter(state=Photo.State.READY).order_by("pk")
    return {PurePath(photo.filename).stem: partial(_thumbnail, photo) for photo in own}


def evaluate(
    info: EncoderInfo,
    photos: LabelledPhotos,
    queries: Sequence[LabelledQuery],
    k: Sequence[int] = (1, 5, 10, 20),
    on_progress: Callable[[int], None] = lambda done: None,
) -> EvaluationReport:
    """Embed photos, rank all of them for each query by cosine, and score the ranking.

    `on_progress` is told how many photos are embedded. Raises ValueError when there is no photo or
    no query, or a query names a photo that is not there, and EncoderUnavailable.
    """
    if not photos or not queries:
        raise ValueError("Nothing to evaluate: there must be photos and queries.")
    unknown = frozenset[str]().union(*(each.relevant for each in queries)) - photos.keys()
    if unknown:
        raise ValueError(f"Queries name photos that are not there: {', '.join(sorted(unknown))}")

    embeddings, seconds_per_photo = _embed_photos(info, photos, on_progress)
    names = list(embeddings)
    photo_matrix = np.stack(list(embeddings.values()))

    text_encoder = load_text_encoder(info)
    text_encoder.embed_texts(["warm up"])
    started = time.perf_counter()
    vectors = [text_encoder.embed_texts([query.text])[0] for query in queries]
    seconds_per_query = (time.perf_counter() - started) / len(queries)

    scores = []
    for query, vector in zip(queries, vectors, strict=True):
        order = np.argsort(-(photo_matrix @ vector), kind="stable")
        ranked = [names[index] for index in order]
        scores.append(
            QueryScore(
                query,
                average_precision(ranked, query.relevant),
                {each: recall_at_k(ranked, query.relevant, each) for each in k},
            )
        )
    return EvaluationReport(
        encoder=info,
        photos=len(photos),
        unreadable=tuple(name for name in photos if name not in embeddings),
        scores=tuple(scores),
        seconds_per_photo=seconds_per_photo,
        seconds_per_query=seconds_per_query,
    )


def _require_some(relevant: Collection[str]) -> None:
    if not relevant:
        raise ValueError("A query that nothing answers has neither precision nor recall.")


def _embed_photos(
    info: EncoderInfo, photos: LabelledPhotos, on_progress: Callable[[int], None]
) -> tuple[dict[str, Embedding], float]:
    """The embedding of each readable photo by its name, and the seconds that one took."""
    encoder = load_image_encoder(info)
    embeddings: dict[str, Embedding] = {}
    seconds = 0.0
    numbered = enumerate(photos.items())
    while batch := list(islice(numbered, _BATCH)):
        images = {number: image for number, (_, opened) in batch if (image := opened())}
        started = time.perf_counter()
        results = encoder.embed_images(images)
        seconds += time.perf_counter() - started
        for number, (name, _) in batch:
            result = results.get(number)
            if result is not None and not isinstance(result, EncodingError):
                embeddings[name] = result
        on_progress(batch[-1][0] + 1)
    if not embeddings:
        raise ValueError("Nothing to evaluate: none of the photos could be read.")
    return embeddings, seconds / len(embeddings)


def _rendition(path: Path) -> Image.Image | None:
    """The photo upright and as small as the gallery's rendition, or None if it is unreadable."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * _LONG_SIDE, 2 * _LONG_SIDE))
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, Image.DecompressionBombError):
        return None
    upright.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.LANCZOS)
    return upright


def _thumbnail(photo: Photo) -> Image.Image | None:
    try:
        with photo.thumbnail.open("rb") as file, Image.open(file) as image:
            return image.convert("RGB")
    except OSError:
        return None
