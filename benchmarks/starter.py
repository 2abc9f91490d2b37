"""What each idea in the starter encoder is worth: the encoder without it, and with it.

    python -m benchmarks.starter PHOTOS QUERIES.tsv [QUERIES.tsv …]

PHOTOS and QUERIES are as for benchmarks/relevance.py. Of each file of queries the table has the
mean average precision and how often a right photo is first, among the photos, and among pairs of
them side by side, as pictures of several things. The last columns are of half the queries each: a
difference that is real shows in both.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

import benchmarks.relevance  # noqa: F401 - sets what the settings want
from benchmarks.measuring import print_table

if TYPE_CHECKING:
    from search.encoders.starter import StarterImageEncoder
    from search.evaluation import LabelledPhotos, LabelledQuery

SENTENCES = slice(0, 384)
PAIR = (256, 384)  # pixels of each half
HEADER = ("queries", "way", "mAP", "first", "pairs: mAP", "first", "mAP of a half", "of the other")

Rows = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("queries", type=Path, nargs="+")
    arguments = parser.parse_args()

    import django

    django.setup()
    from search.encoders import STARTER, describe, load_image_encoder, load_text_encoder
    from search.encoders.base import l2_normalised
    from search.encoders.starter import StarterImageEncoder
    from search.encoders.starter_classes import imagenet_classes
    from search.evaluation import photos_in, read_queries

    info = describe(STARTER)
    encoder, texts = load_image_encoder(info), load_text_encoder(info)
    assert isinstance(encoder, StarterImageEncoder)
    names, singles, pairs, partners = embed(encoder, photos_in(arguments.photos))
    first, second = (
        l2_normalised(texts.embed_texts(column)[:, SENTENCES])
        for column in zip(*(each.descriptions() for each in imagenet_classes()), strict=True)
    )
    described = l2_normalised(first + second)

    rows = []
    for file in arguments.queries:
        queries = read_queries(file)
        asked = texts.embed_texts([query.text for query in queries])
        relevant = relevance_of(queries, names)
        sentences = np.zeros_like(asked)
        sentences[:, SENTENCES] = asked[:, SENTENCES]
        for way, images, of_pairs, vectors in (
            (
                "ConSE with WordNet's words, the middle",
                *middle(singles, pairs, described),
                sentences,
            ),
            (
                "ConSE with everyday names too, the middle",
                *middle(singles, pairs, encoder.classes.embeddings),
                sentences,
            ),
            ("ConSE with everyday names too, parts", singles[1], pairs[1], sentences),
            ("among classes only", singles[1], pairs[1], asked - sentences),
            (
                "both, the middle",
                *middle(singles, pairs, encoder.classes.embeddings),
                asked,
            ),
            ("as it is: both, parts", singles[1], pairs[1], asked),
        ):
            alone = precisions(vectors @ images.T, relevant)
            paired = precisions(vectors @ of_pairs.T, relevant | relevant[:, partners])
            figures = (
                *alone.mean(axis=0),
                *paired.mean(axis=0),
                alone[::2, 0].mean(),
                alone[1::2, 0].mean(),
            )
            rows.append((file.stem, way, *(f"{figure:.3f}" for figure in figures)))
    print(f"{len(names)} photos, {info.name} {info.revision}\n")
    print_table(HEADER, rows)


def embed(
    encoder: StarterImageEncoder, photos: LabelledPhotos
) -> tuple[list[str], tuple[Rows, Rows], tuple[Rows, Rows], NDArray[np.int_]]:
    """The names; for photos and for pairs the middle's probabilities and the embeddings; and the
    other photo in each photo's pair."""
    opened = {name: image for name, each in photos.items() if (image := each()) is not None}
    pictures = list(opened.values())
    partners = np.roll(random := np.random.default_rng(0).permutation(len(pictures)), 1)[
        np.argsort(random)
    ]
    pairs = [
        side_by_side(left, pictures[right]) for left, right in zip(pictures, partners, strict=True)
    ]
    return list(opened), _embed(encoder, pictures), _embed(encoder, pairs), partners


def _embed(encoder: StarterImageEncoder, pictures: list[Image.Image]) -> tuple[Rows, Rows]:
    middles, embeddings = [], []
    for picture in pictures:
        prepared = encoder.prepare(picture)
        middles.append(encoder.probabilities([prepared])[0, 0])
        embedding = encoder.embed_prepared({0: prepared})[0]
        assert isinstance(embedding, np.ndarray), embedding
        embeddings.append(embedding)
    return np.stack(middles), np.stack(embeddings)


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (2 * PAIR[0], PAIR[1]))
    both.paste(ImageOps.fit(left, PAIR), (0, 0))
    both.paste(ImageOps.fit(right, PAIR), (PAIR[0], 0))
    return both


def middle(
    singles: tuple[Rows, Rows], pairs: tuple[Rows, Rows], classes: Rows
) -> tuple[Rows, Rows]:
    """The embeddings that photos and pairs have by their middle alone."""
    from search.encoders.base import l2_normalised

    photos, of_pairs = (
        l2_normalised(np.hstack([l2_normalised(likely @ classes), np.sqrt(likely)]))
        for likely, _embeddings in (singles, pairs)
    )
    return photos, of_pairs


def relevance_of(queries: list[LabelledQuery], names: list[str]) -> NDArray[np.bool_]:
    return np.array([[name in query.relevant for name in names] for query in queries])


def precisions(
    similarities: NDArray[np.floating[Any]], relevant: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """For each query its average precision, and whether a right photo is first."""
    rows = []
    for scores, answers in zip(similarities, relevant, strict=True):
        hits = answers[np.argsort(-scores, kind="stable")]
        if hits.any():
            ranks = np.flatnonzero(hits) + 1
            rows.append((float((np.arange(1, len(ranks) + 1) / ranks).mean()), float(hits[0])))
    return np.array(rows)


if __name__ == "__main__":
    main()
