"""Pictures to search with that are no photos of the gallery: taken in, embedded, forgotten.

The image tower is only in the workers. A request writes the picture down as a row and wakes them;
what comes of it is read from the row.
"""

from __future__ import annotations

import io
import logging
import time
from datetime import timedelta
from typing import IO

import numpy as np
from django.core.files import File
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from numpy.typing import NDArray
from PIL import Image

from accounts.models import User
from gallery.decoding.problems import BadPicture
from gallery.decoding.service import DecoderUnavailable, render
from gallery.validators import NotDecodedNow, check_picture, check_size, rejection
from search.encoders import EncoderUnavailable, EncodingError, load_image_encoder
from search.indexing import read_embedding
from search.models import ImageQuery, SearchIndex
from t2isearch.dispatch import wake
from t2isearch.leases import backoff, claim, exhausted, give_back

logger = logging.getLogger(__name__)

KEEP = timedelta(hours=24)
# A person's latest ones are kept; who searches with more than these does not need the older ones.
MOST_KEPT = 50
_BATCH = 16
_POLL_S = 0.1

NOT_UNDERSTOOD = gettext_noop("The picture could not be understood. Please try another one.")


class ImageGone(Exception):
    """There is no such picture of the person's: it was never there, or has expired."""


class ImagePending(Exception):
    """A worker has not embedded the picture yet."""


class ImageFailed(Exception):
    """The picture could not be embedded; the message is one sentence for the person."""


def take_picture(owner: User, file: File[bytes]) -> ImageQuery:
    """Take in a picture to search with, and wake a worker.

    Only a rendition of it is kept, for a day.

    Raises:
        RejectedUpload: it is no picture, damaged or too large.
        NotDecodedNow
    """
    from search.tasks import embed_pictures

    check_size(file.size)
    check_picture(file)
    picture = _rendition(file)
    with transaction.atomic():
        taken = ImageQuery.objects.create(
            owner=owner, picture=picture, expires_at=timezone.now() + KEEP
        )
        latest = ImageQuery.objects.filter(owner=owner).order_by("-pk").values("pk")
        superfluous = [row["pk"] for row in latest[MOST_KEPT : MOST_KEPT + 100]]
        ImageQuery.objects.filter(pk__in=superfluous).delete()
        wake(embed_pictures)
    return taken


def _rendition(file: IO[bytes]) -> bytes:
    """What a photo's thumbnail would be, so that both are embedded alike."""
    try:
        return render(file).thumbnail
    except BadPicture as bad:
        raise rejection(bad) from bad
    except DecoderUnavailable as unavailable:
        raise NotDecodedNow(str(unavailable)) from unavailable


def image_embedding(index: SearchIndex, owner: User, image_id: int) -> NDArray[np.float32]:
    """The picture's embedding in this generation.

    Raises:
        ImageGone, ImagePending, ImageFailed
    """
    from search.tasks import embed_pictures

    taken = ImageQuery.objects.owned_by(owner).filter(pk=image_id).first()
    if taken is None:
        raise ImageGone
    if taken.error:
        raise ImageFailed(_(taken.error))
    if taken.embedding is None:
        if exhausted(taken) and taken.due_at <= timezone.now():
            # It ended its worker each time.
            raise ImageFailed(_(NOT_UNDERSTOOD))
        raise ImagePending
    if taken.index_id != index.pk:
        # Another generation became the active one meanwhile.
        ImageQuery.objects.filter(pk=taken.pk).update(
            embedding=None, attempts=0, due_at=timezone.now()
        )
        wake(embed_pictures)
        raise ImagePending
    return read_embedding(taken.embedding)


def wait_for_pictures(owner: User, image_ids: tuple[int, ...], *, for_seconds: float) -> bool:
    """Wait until the pictures are embedded or failed; whether they are."""
    deadline = time.monotonic() + for_seconds
    waiting = ImageQuery.objects.owned_by(owner).waiting().filter(pk__in=image_ids)
    while waiting.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def embed_waiting_pictures() -> bool:
    """Embed a batch of the pictures that wait; returns whether there may be more."""
    index = SearchIndex.objects.active()
    if index is None:
        return False
    rows = {row.pk: row for row in claim(ImageQuery.objects.waiting(), limit=_BATCH)}
    if not rows:
        return False
    try:
        images = {key: _opened(row) for key, row in rows.items()}
        results = load_image_encoder(index.encoder_info).embed_images(images)
    except EncoderUnavailable as error:
        logger.warning("pictures to search with wait: %s", error)
        give_back(list(rows.values()), after=backoff(1))
        return False
    except Exception:
        logger.exception("pictures to search with could not be embedded")
        for row in rows.values():
            _put_off(row)
        return True
    for key, result in results.items():
        changes: dict[str, object] = (
            {"error": str(result)}
            if isinstance(result, EncodingError)
            # Kept whatever `KEEP_EMBEDDINGS` says: it is all that there is.
            else {"embedding": result.astype("<f2").tobytes(), "index": index}
        )
        ImageQuery.objects.filter(pk=key).update(**changes)
    return True


def _opened(row: ImageQuery) -> Image.Image:
    with Image.open(io.BytesIO(bytes(row.picture))) as image:
        return image.convert("RGB")


def _put_off(row: ImageQuery) -> None:
    changes: dict[str, object] = (
        {"error": NOT_UNDERSTOOD}
        if exhausted(row)
        else {"due_at": timezone.now() + backoff(row.attempts)}
    )
    ImageQuery.objects.filter(pk=row.pk).update(**changes)


def pictures_wait() -> bool:
    """Whether a picture waits for a worker right now."""
    return ImageQuery.objects.waiting().filter(due_at__lte=timezone.now()).exists()


def forget_expired_pictures() -> int:
    """Delete the pictures that are no longer kept; returns how many."""
    return ImageQuery.objects.expired().delete()[0]
