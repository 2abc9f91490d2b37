"""From what a person asks for to their own photos, in order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
from django.db.models import Q
from django.utils.translation import gettext as _
from numpy.typing import NDArray

from accounts.models import User
from gallery.models import Photo
from gallery.querysets import PhotoQuerySet, taken_or_added
from search import milvus
from search.encoders import EncoderUnavailable, load_text_encoder
from search.filters import matching_photos
from search.images import image_embedding
from search.indexing import read_embedding
from search.milvus import Hit, MilvusUnavailable
from search.models import PhotoIndexing, SearchIndex
from search.planning import ImageTerm, PhotoTerm, Plan, Term, TextTerm
from search.ranking import rank
from search.relevance import CutOff, cut_off
from search.snapshots import Cursor, Key, Snapshot, read_cursor, scope_of
from search.warming import warm_up_next_generation
from t2isearch.cache import derived
from t2isearch.counters import count_lookup, text_seconds

EMBEDDING_CACHE_S = 7 * 24 * 3600
LONGEST_OFFSET = 5_000
# How many hits are ranked at first; four times as many whenever they are used up.
FIRST_DEPTH = 300

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SearchUnavailable(Exception):
    """The search can't be answered right now; the message is one plain sentence for the person."""


class NotSearchableYet(Exception):
    """A photo that others are to be compared with has no embedding yet."""


class NothingMeant(Exception):
    """The terms cancel each other out; the message says so."""


class Order(StrEnum):
    RELEVANCE = "relevance"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Result:
    """A photo and its cosine similarity to the query, -1 to 1; None where nothing is compared.

    `weak` results are no closer than chance would have it; the first of them `divides` the page.
    `closeness` is how far the score is from chance to the best result, 0 to 1.
    """

    photo: Photo
    score: float | None
    weak: bool = False
    divides: bool = False
    closeness: float = 0.0


@dataclass(frozen=True, slots=True)
class ResultPage:
    """One page. While a lost index is being filled again, results may be `incomplete`.

    `strong` is how many close ones there are in all, as far as they are counted (`more_strong`
    when there are others); `has_weak` when there are weaker ones, shown or not.
    """

    results: list[Result]
    next_cursor: str | None
    encoder: str
    incomplete: bool = False
    strong: int = 0
    more_strong: bool = False
    has_weak: bool = False


def search_photos(
    *,
    owner: User,
    plan: Plan,
    limit: int,
    offset: int = 0,
    cursor: str = "",
    order: Order = Order.RELEVANCE,
    weak: bool = False,
    states: bool = True,
) -> ResultPage:
    """The owner's photos that fit the plan: the closest first, or the newest of the close ones.

    With `weak`, those that are no closer than chance follow. A plan of filters alone lists what
    they leave, the newest first. `cursor` goes on where a page ended, and is worth more than
    `offset`: nothing is repeated or left out while photos come and go. With `states`, each photo
    says whether it is searchable (`for_display`).

    Raises:
        SearchUnavailable: Milvus or the encoder is down, or nothing was ever indexed.
        NotSearchableYet: a photo among the terms has no embedding yet.
        Photo.DoesNotExist: a photo among the terms is not one of the owner's.
        ImageGone, ImagePending: a picture among the terms is no longer, or not yet, there.
        UnknownAlbum, NothingMeant: the plan can't be followed.
        BadCursor
    """
    known = Photo.objects.owned_by(owner).filter(pk__in=plan.photo_ids)
    if plan.photo_ids and known.count() < len(set(plan.photo_ids)):
        raise Photo.DoesNotExist
    photos = matching_photos(owner, plan)
    scope = scope_of(owner, plan, order, weak)
    going_on = read_cursor(cursor, scope) if cursor else None
    if not plan.terms:
        return _by_date(photos, limit, offset, going_on, scope, states)
    index = SearchIndex.objects.active()
    if index is None:
        raise SearchUnavailable(
            _("The search is still being set up. Please try again in a moment.")
        )
    search = _Search(index, owner, plan, photos, order, weak, states)
    try:
        page = search.page(limit, offset, going_on, scope)
    except MilvusUnavailable as error:
        raise SearchUnavailable(
            _("The search can't be reached right now. Your photos are safe; please try again soon.")
        ) from error
    except EncoderUnavailable as error:
        raise SearchUnavailable(
            _("The search can't understand words right now. Please try again soon.")
        ) from error
    warm_up_next_generation()
    return page


def _by_date(
    photos: PhotoQuerySet,
    limit: int,
    offset: int,
    cursor: Cursor | None,
    scope: str,
    states: bool,
) -> ResultPage:
    """The newest first; the last photo's time and key are cursor enough."""
    listed = (photos.for_display() if states else photos).in_time_order()
    if cursor is not None:
        moment = _EPOCH + timedelta(microseconds=-cursor.last[1])
        listed = listed.filter(Q(moment__lt=moment) | Q(moment=moment, pk__lt=-cursor.last[2]))
        offset = 0
    found = list(listed[offset : offset + limit + 1])
    following = None
    if len(found) > limit:
        last = found[limit - 1]
        following = Cursor("", 0, _date_key(last.pk, _moment_of(last)), 0).signed(scope)
    return ResultPage(
        results=[Result(photo, None) for photo in found[:limit]],
        next_cursor=following,
        encoder="",
        strong=photos.count(),
    )


class _Search:
    """One search with terms, in one generation."""

    def __init__(
        self,
        index: SearchIndex,
        owner: User,
        plan: Plan,
        photos: PhotoQuerySet,
        order: Order,
        weak: bool,
        states: bool,
    ) -> None:
        self._index = index
        self._owner = owner
        self._plan = plan
        self._photos = photos
        self._shown = photos.for_display() if states else photos
        self._order = order
        self._weak = weak
        self._vector: NDArray[np.float32] | None = None
        self._cut_off: CutOff | None = None

    def page(self, limit: int, offset: int, cursor: Cursor | None, scope: str) -> ResultPage:
        snapshot = cursor.snapshot() if cursor else None
        position = cursor.position if cursor else offset
        if snapshot is None:
            snapshot = self._ranked(max(FIRST_DEPTH, offset + limit + 1))
            if cursor is not None and cursor.index_id == self._index.pk:
                snapshot = self._from_behind(snapshot, cursor.last)
                position = 0
        shown, position = self._take(snapshot, position, limit)
        # Whether anything follows is only known once it was looked for.
        if position >= len(snapshot.ids) and not snapshot.complete:
            snapshot = self._longer(snapshot)
        following = None
        if shown and position < len(snapshot.ids):
            snapshot.keep()
            last = snapshot.keys[position - 1]
            following = Cursor(snapshot.name, position, last, snapshot.index_id).signed(scope)
        return ResultPage(
            results=shown,
            next_cursor=following,
            encoder=snapshot.encoder,
            incomplete=self._index.refilled_to is not None,
            strong=snapshot.strong,
            more_strong=not snapshot.complete and snapshot.strong == len(snapshot.ids),
            has_weak=snapshot.has_weak,
        )

    def _take(self, snapshot: Snapshot, position: int, limit: int) -> tuple[list[Result], int]:
        """The next `limit` of those that are still there, and the position behind them."""
        results: list[Result] = []
        divided = position > snapshot.strong
        while len(results) < limit:
            if position >= len(snapshot.ids):
                if snapshot.complete:
                    break
                longer = self._longer(snapshot)
                if len(longer.ids) == position:
                    break
            following = min(position + limit - len(results), len(snapshot.ids))
            ids = snapshot.ids[position:following]
            there = {photo.pk: photo for photo in self._shown.filter(pk__any_of=ids)}
            for place, photo_id in enumerate(ids, position):
                if photo_id not in there:
                    continue
                weak = place >= snapshot.strong
                score = snapshot.scores[place]
                results.append(
                    Result(
                        photo=there[photo_id],
                        score=score,
                        weak=weak,
                        divides=weak and not divided,
                        closeness=snapshot.closeness(score),
                    )
                )
                divided = divided or weak
            position = following
        return results, position

    def _ranked(self, depth: int) -> Snapshot:
        """The order of the results, to at least `depth` of them."""
        if self._vector is None:
            self._vector = query_vector(self._index, self._owner, self._plan)
            self._cut_off = cut_off(
                index=self._index, owner=self._owner, plan=self._plan, vector=self._vector
            )
        while True:
            ranking = rank(
                index=self._index,
                owner=self._owner,
                plan=self._plan,
                photos=self._photos,
                vector=self._vector,
                depth=depth,
            )
            hits, complete = ranking.hits, ranking.complete
            strong = self._count_strong(hits)
            # The newest of the close ones are known once all of the close ones are.
            if self._order == Order.RELEVANCE or complete or strong < len(hits):
                break
            if self._cut_off is None:
                break
            depth *= 4
        wanted = hits if self._weak else hits[:strong]
        moments = self._moments(hits[:strong]) if self._order == Order.DATE else {}
        keyed = sorted(
            (self._key(hit, place >= strong, moments), hit) for place, hit in enumerate(wanted)
        )
        return Snapshot(
            ids=[hit.photo_id for _, hit in keyed],
            scores=[hit.similarity for _, hit in keyed],
            keys=[key for key, _ in keyed],
            strong=strong,
            complete=complete or (not self._weak and strong < len(hits)),
            encoder=self._index.encoder,
            index_id=self._index.pk,
            has_weak=strong < len(hits),
            chance=self._cut_off.chance if self._cut_off else 0.0,
            best=max((hit.similarity for hit in hits[:1]), default=1.0),
        )

    def _longer(self, snapshot: Snapshot) -> Snapshot:
        """More of the same: what was ranked stays where it is, and what is new comes behind it."""
        known = set(snapshot.ids)
        deeper = self._ranked(4 * max(FIRST_DEPTH, len(snapshot.ids)))
        for place, photo_id in enumerate(deeper.ids):
            if photo_id not in known:
                if place < deeper.strong and snapshot.strong == len(snapshot.ids):
                    snapshot.strong += 1
                snapshot.ids.append(photo_id)
                snapshot.scores.append(deeper.scores[place])
                snapshot.keys.append(deeper.keys[place])
        snapshot.complete = deeper.complete
        snapshot.has_weak = snapshot.has_weak or deeper.has_weak
        return snapshot

    def _from_behind(self, snapshot: Snapshot, last: Key) -> Snapshot:
        """What follows `last`, in an order that was lost and made anew."""
        while True:
            rest = snapshot.behind(last)
            if rest.ids or snapshot.complete:
                return rest
            snapshot = self._ranked(4 * len(snapshot.ids))

    def _count_strong(self, hits: list[Hit]) -> int:
        if self._cut_off is None:
            return len(hits)
        return sum(hit.similarity >= self._cut_off.similarity for hit in hits)

    def _moments(self, hits: list[Hit]) -> dict[int, datetime]:
        ids = [hit.photo_id for hit in hits]
        return {
            photo.pk: _moment_of(photo)
            for photo in self._photos.filter(pk__in=ids)
            .annotate(moment=taken_or_added())
            .only("pk")
        }

    def _key(self, hit: Hit, weak: bool, moments: dict[int, datetime]) -> Key:
        if self._order == Order.DATE and not weak:
            return _date_key(hit.photo_id, moments.get(hit.photo_id, _EPOCH))
        # Similarities are float32, whose text has no more than nine digits.
        return int(weak), -round(hit.similarity * 10**9), hit.photo_id


def _moment_of(photo: Photo) -> datetime:
    """When it was taken or added, of a photo that was read with `moment`."""
    moment: datetime = photo.moment  # type: ignore[attr-defined]
    return moment


def _date_key(photo_id: int, moment: datetime) -> Key:
    """The newest first; of the same moment, the one added last."""
    return 0, -((moment - _EPOCH) // timedelta(microseconds=1)), -photo_id


def query_vector(index: SearchIndex, owner: User, plan: Plan) -> NDArray[np.float32]:
    """The normalised weighted sum of the terms' embeddings, float32 of shape (dimension,).

    Raises:
        EncoderUnavailable
        NotSearchableYet, Photo.DoesNotExist, ImageGone, ImagePending, MilvusUnavailable
        NothingMeant: the sum is nothing.
    """
    total = np.zeros(index.dimension, dtype=np.float32)
    for term in plan.terms:
        total += term.weight * term_embedding(index, owner, term)
    length = float(np.linalg.norm(total))
    if length < 1e-4:
        raise NothingMeant(_("The parts of this search cancel each other out."))
    return np.asarray(total / length, dtype=np.float32)


def term_embedding(index: SearchIndex, owner: User, term: Term) -> NDArray[np.float32]:
    """One term's embedding, normalised. Raises what `query_vector` does."""
    match term:
        case TextTerm(text=text):
            return embed_text(index, text)
        case PhotoTerm(photo_id=photo_id):
            return photo_embedding(index, Photo.objects.owned_by(owner).get(pk=photo_id))
        case ImageTerm(image_id=image_id):
            return image_embedding(index, owner, image_id)


def embed_text(index: SearchIndex, text: str) -> NDArray[np.float32]:
    """The text's embedding, from the cache when it was asked for before."""
    normalised = " ".join(text.split())
    digest = hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).hexdigest()
    key = f"search:text:{index.pk}:{index.revision}:{digest}"
    cached: bytes | None = derived.get(key)
    count_lookup("query", found=cached is not None)
    if cached is not None:
        return np.frombuffer(cached, dtype=np.float32)
    encoder = load_text_encoder(index.encoder_info)
    with text_seconds.time():
        vector: NDArray[np.float32] = encoder.embed_texts([normalised])[0]
    derived.set(key, vector.astype(np.float32).tobytes(), EMBEDDING_CACHE_S)
    return vector


def photo_embedding(index: SearchIndex, photo: Photo) -> NDArray[np.float32]:
    """The photo's embedding as it was indexed.

    Raises:
        NotSearchableYet
        MilvusUnavailable: PostgreSQL does not keep embeddings, and Milvus can't be asked.
    """
    row = PhotoIndexing.objects.filter(photo=photo, index=index, indexed_at__isnull=False).first()
    if row is None:
        raise NotSearchableYet
    if row.embedding is not None:
        return read_embedding(row.embedding)
    stored = milvus.embedding(index.collection_name, photo.pk)
    if stored is None:
        raise NotSearchableYet
    return stored
