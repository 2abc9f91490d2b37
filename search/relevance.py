"""The cut-off: from which similarity on a photo answers a query, rather than being the least bad.

A cosine says little by itself: what is a close match in one encoder's space is chance in another's,
and some galleries are closer to every query than others. So a similarity is measured against
chance: the similarities of background queries (`search.background`) to a sample of the person's own
photos. The cut-off lies K standard deviations above their mean. K grows with the logarithm of the
number of photos, since the best of many chance matches is better than that of a few. For a query
that is closer to all photos than others are it is moved up by a part of that, within bounds, so
that "dog" in a gallery of dogs is not held against it.

`benchmarks/relevance.py` prints how many answers it hides and how much it shows that is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accounts.models import User
from search import milvus
from search.background import BACKGROUND_QUERIES, VERSION
from search.encoders import load_text_encoder
from search.models import PhotoIndexing, SearchIndex
from search.planning import Plan, TextTerm
from search.ranking import kept_matrix
from t2isearch.cache import derived
from t2isearch.counters import count_lookup

# Chosen on 499 photos with the starter encoder: see docs/search.md.
K_OF_ONE_PHOTO = 2.4
K_PER_TENFOLD = 0.55
MOST_K = 4.4
# How far a query that is closer to all photos moves the cut-off, and from how many photos on.
QUERY_SHARE = 0.5
QUERY_PHOTOS = 50
# Photos are compared with photos by the query's own statistics, which take some photos.
PHOTO_K = 2.5
FEWEST_PHOTOS = 20

SAMPLE_SIZE = 512
_KEEP_S = 600
# A gallery that is being filled changes quickly.
_KEEP_SMALL_S = 10


@dataclass(frozen=True, slots=True)
class CutOff:
    """The similarity from which on photos answer a query, and the one that chance has."""

    similarity: float
    chance: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What chance looks like among one person's photos.

    `sample` are embeddings of some photos, float32 of shape (n, dimension); `mean`, `median` and
    `deviation` are those of the background similarities to them, and `query_deviation` is that of
    the background queries' mean similarities.
    """

    sample: NDArray[np.float32]
    photos: int
    mean: float
    median: float
    deviation: float
    query_deviation: float

    @classmethod
    def of(
        cls, sample: NDArray[np.float32], background: NDArray[np.float32], *, photos: int
    ) -> Calibration:
        """`background` are the background queries' embeddings, float32 of (m, dimension)."""
        similarities = background @ sample.T
        return cls(
            sample=sample,
            photos=photos,
            mean=float(similarities.mean()),
            median=float(np.median(similarities)),
            deviation=float(similarities.std()),
            query_deviation=float(similarities.mean(axis=1).std()),
        )

    def text_cut_off(self, vector: NDArray[np.float32]) -> CutOff:
        """For a query of words."""
        k = min(MOST_K, K_OF_ONE_PHOTO + K_PER_TENFOLD * math.log10(max(1, self.photos)))
        sampled = len(self.sample)
        share = QUERY_SHARE * sampled / (sampled + QUERY_PHOTOS)
        shift = share * (float(np.median(self.sample @ vector)) - self.median)
        bounded = max(-self.query_deviation, min(self.query_deviation, shift))
        chance = self.mean + bounded
        return CutOff(chance + k * self.deviation, chance)

    def photo_cut_off(self, vector: NDArray[np.float32]) -> CutOff | None:
        """For a query with a photo in it; None when there are too few photos to tell."""
        if len(self.sample) < FEWEST_PHOTOS:
            return None
        similarities = self.sample @ vector
        mean, deviation = float(similarities.mean()), float(similarities.std())
        return CutOff(mean + PHOTO_K * deviation, mean)


def cut_off(
    *, index: SearchIndex, owner: User, plan: Plan, vector: NDArray[np.float32]
) -> CutOff | None:
    """The cut-off of a query; None where all photos may be answers.

    Raises:
        MilvusUnavailable
        EncoderUnavailable: the background queries are not embedded yet, and can't be.
    """
    if not plan.is_wish:
        return None
    found = calibration(index, owner)
    if found is None:
        return None
    by_photos = found.photo_cut_off(vector)
    if not all(isinstance(term, TextTerm) for term in plan.terms):
        return by_photos
    by_texts = found.text_cut_off(vector)
    if len(plan.terms) == 1 or by_photos is None:
        return by_texts
    # What texts have in common is gone from a difference of them, and with it some similarity.
    return min(by_texts, by_photos, key=lambda each: each.similarity)


def calibration(index: SearchIndex, owner: User) -> Calibration | None:
    """The owner's calibration, kept for some minutes; None without a searchable photo."""
    key = f"search:calibration:{index.pk}:{index.revision}:{VERSION}:{owner.pk}"
    known: Calibration | None = derived.get(key)
    count_lookup("calibration", found=known is not None)
    if known is not None:
        return known
    sample, photos = _sample(index, owner)
    if len(sample) == 0:
        return None
    made = Calibration.of(sample, background(index), photos=photos)
    derived.set(key, made, _KEEP_S if photos >= SAMPLE_SIZE else _KEEP_SMALL_S)
    return made


def background(index: SearchIndex) -> NDArray[np.float32]:
    """The background queries' embeddings, `(m, dimension)`: made once for a generation and kept.

    Raises:
        EncoderUnavailable
    """
    kept = index.background
    if kept is not None and index.background_version == VERSION:
        return np.frombuffer(bytes(kept), dtype="<f4").reshape(-1, index.dimension)
    vectors = load_text_encoder(index.encoder_info).embed_texts(BACKGROUND_QUERIES)
    index.background, index.background_version = vectors.astype("<f4").tobytes(), VERSION
    SearchIndex.objects.filter(pk=index.pk).update(
        background=index.background, background_version=VERSION
    )
    return vectors


def _sample(index: SearchIndex, owner: User) -> tuple[NDArray[np.float32], int]:
    """The embeddings of some of the owner's photos, evenly over all; and how many there are."""
    rows = PhotoIndexing.objects.filter(
        index=index, photo__owner=owner, photo__trashed_at=None, indexed_at__isnull=False
    )
    ids = list(rows.order_by("photo_id").values_list("photo_id", flat=True))
    places = np.linspace(0, len(ids) - 1, min(len(ids), SAMPLE_SIZE)).round().astype(int)
    chosen = [ids[place] for place in places]
    found = dict(rows.filter(photo_id__in=chosen).values_list("photo_id", "embedding"))
    kept = [bytes(embedding) for embedding in found.values() if embedding is not None]
    parts = [kept_matrix(kept)] if kept else []
    if not_kept := [photo_id for photo_id, embedding in found.items() if embedding is None]:
        others = milvus.embeddings(index.collection_name, not_kept)
        if others:
            parts.append(np.stack(list(others.values())))
    if not parts:
        return np.empty((0, index.dimension), dtype=np.float32), 0
    return np.concatenate(parts), len(ids)
