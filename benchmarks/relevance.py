"""How often the cut-off is wrong: answers that it hides, and photos it shows that are none.

    python benchmarks/relevance.py PHOTOS QUERIES.tsv [--unanswerable FILE] [--encoder NAME]

PHOTOS is a folder; QUERIES has a query, a tab and the names of the photos that answer it in each
line; the file of unanswerable queries has one a line, none of which any photo answers. Galleries of
fewer photos are drawn from the folder, as the cut-off depends on their number.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from search.encoders import ImageEncoder
    from search.evaluation import LabelledPhotos

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "t2isearch.settings")
# Settings want these; nothing is asked of them.
os.environ.setdefault(
    "SECRET_KEY", "a benchmark keeps no secrets, but the settings want fifty letters"
)
os.environ.setdefault("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
os.environ.setdefault("MILVUS_URI", "http://127.0.0.1:1")

UNANSWERABLE = Path(__file__).with_name("unanswerable.txt")
SIZES = (1, 5, 20, 50, 100, 200)
DRAWS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--unanswerable", type=Path, default=UNANSWERABLE)
    parser.add_argument("--encoder", default="starter")
    arguments = parser.parse_args()

    import django

    django.setup()
    from search.background import BACKGROUND_QUERIES
    from search.encoders import describe, load_image_encoder, load_text_encoder
    from search.evaluation import photos_in, read_queries

    info = describe(arguments.encoder)
    names, embeddings = embed_photos(load_image_encoder(info), photos_in(arguments.photos))
    queries = read_queries(arguments.queries)
    lines = arguments.unanswerable.read_text(encoding="utf-8").splitlines()
    junk = [line for line in lines if line.strip()]
    texts = load_text_encoder(info)
    background = texts.embed_texts(BACKGROUND_QUERIES)
    asked = texts.embed_texts([query.text for query in queries])
    unanswerable = texts.embed_texts(junk)
    relevant = np.array([[name in query.relevant for name in names] for query in queries])

    print(f"{info.name} ({info.revision}): {len(names)} photos, {len(queries)} queries with an")
    print(f"answer, {len(junk)} without, {len(BACKGROUND_QUERIES)} background queries")
    print()
    print("photos  answers hidden  answered by nothing  junk: queries  junk: photos  precision")
    random = np.random.default_rng(0)
    for size in (*(each for each in SIZES if each < len(names)), len(names)):
        draws = 1 if size == len(names) else DRAWS
        rows = [
            error_rates(embeddings[chosen], relevant[:, chosen], asked, unanswerable, background)
            for chosen in (random.permutation(len(names))[:size] for _ in range(draws))
        ]
        hidden, nothing, shown, photos, precision = np.nanmean(rows, axis=0)
        print(
            f"{size:6}  {hidden:13.1%}  {nothing:18.1%}  {shown:12.1%}  {photos:11.2f}"
            f"  {precision:9.1%}"
        )


def error_rates(
    embeddings: NDArray[np.float32],
    relevant: NDArray[np.bool_],
    asked: NDArray[np.float32],
    junk: NDArray[np.float32],
    background: NDArray[np.float32],
) -> tuple[float, float, float, float, float]:
    """Over one gallery: the share of a query's answers that are hidden, of queries with an answer
    that show nothing, of queries without one that show something, how many photos these show, and
    which share of what is shown for the others is an answer."""
    from search.relevance import SAMPLE_SIZE, Calibration

    places = np.linspace(0, len(embeddings) - 1, min(len(embeddings), SAMPLE_SIZE)).astype(int)
    calibration = Calibration.of(embeddings[places], background, photos=len(embeddings))

    def shown_by(vector: NDArray[np.float32]) -> NDArray[np.bool_]:
        return embeddings @ vector >= calibration.text_cut_off(vector).similarity

    hidden, nothing, precision = [], [], []
    for vector, answers in zip(asked, relevant, strict=True):
        if not answers.any():
            continue
        shown = shown_by(vector)
        hidden.append(1 - shown[answers].mean())
        nothing.append(not shown.any())
        if shown.any():
            precision.append(answers[shown].mean())
    counts = [int(shown_by(vector).sum()) for vector in junk]
    return (
        float(np.mean(hidden)) if hidden else np.nan,
        float(np.mean(nothing)) if nothing else np.nan,
        float(np.mean([count > 0 for count in counts])),
        float(np.mean(counts)),
        float(np.mean(precision)) if precision else np.nan,
    )


def embed_photos(
    encoder: ImageEncoder, photos: LabelledPhotos
) -> tuple[list[str], NDArray[np.float32]]:
    """The names of the photos that can be read, and their embeddings as rows."""
    names: list[str] = []
    rows: list[NDArray[np.float32]] = []
    for name, opened in photos.items():
        image = opened()
        if image is None:
            continue
        found = encoder.embed_images({0: image})[0]
        if isinstance(found, np.ndarray):
            names.append(name)
            rows.append(found)
    return names, np.stack(rows)


if __name__ == "__main__":
    main()
