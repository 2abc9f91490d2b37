"""Generations of the index: built beside the active one, switched to, rolled back, dropped.

Each step is one transaction on the rows of `SearchIndex`, which searches and workers follow: there
is no moment without an active generation, and none with two.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from accounts.models import User
from gallery.models import Photo
from search import milvus
from search.encoders import STARTER, choose_encoder, describe
from search.milvus import CollectionDamaged, MilvusUnavailable
from search.models import IndexRun, PhotoIndexing, SearchIndex
from search.runs import finish_runs, record_run, start_run

logger = logging.getLogger(__name__)

RATE_WINDOW = timedelta(seconds=60)

# In the findings of a refill: why the collection was made anew.
DAMAGED = "damaged"


class NotPossible(Exception):
    """What is asked for can't be done with this generation now; one plain sentence says why."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How many photos there are, and how many of them are how far in a generation.

    `unknown` photos were not taken in yet. `rate` is photos a second over the last minute.
    """

    photos: int
    searchable: int
    waiting: int
    failed: int
    rate: float

    @property
    def unknown(self) -> int:
        return max(0, self.photos - self.searchable - self.waiting - self.failed)

    @property
    def remaining(self) -> int:
        return self.waiting + self.unknown

    @property
    def finished(self) -> int:
        """Those that are searchable or failed for a reason."""
        return self.photos - self.remaining

    @property
    def share(self) -> float:
        """The share that is finished, searchable or failed: 0 to 1."""
        return 1 - self.remaining / self.photos if self.photos else 1.0

    @property
    def time_left(self) -> timedelta | None:
        """None when nothing was indexed within the last minute, or nothing remains."""
        if not self.rate or not self.remaining:
            return None
        return timedelta(seconds=self.remaining / self.rate)


def progress(index: SearchIndex) -> Progress:
    """Count exactly how far a generation is."""
    states = PhotoIndexing.State
    rows = index.indexings.filter(photo__state=Photo.State.READY).aggregate(
        searchable=Count("pk", filter=Q(state=states.DONE)),
        waiting=Count("pk", filter=Q(state=states.PENDING)),
        failed=Count("pk", filter=Q(state=states.FAILED)),
    )
    recent = index.indexings.filter(indexed_at__gte=timezone.now() - RATE_WINDOW).count()
    return Progress(
        photos=Photo.objects.filter(state=Photo.State.READY).count(),
        rate=recent / RATE_WINDOW.total_seconds(),
        **rows,
    )


def prepare_index() -> tuple[SearchIndex, bool]:
    """The active generation and its collection, made when there is none; whether it was made now.

    A collection that Milvus has lost is made anew and filled again by the workers. A generation
    whose starter encoder an upgrade has replaced gives way to a new one.

    Raises:
        EncoderUnavailable: the configured encoder can't be had.
        MilvusUnavailable
    """
    index = SearchIndex.objects.active()
    created = index is None
    if index is not None and _starter_was_replaced(index):
        index = _change_to_new_starter(index)
    if index is None:
        choice = choose_encoder(settings.SEARCH_ENCODER)
        try:
            with transaction.atomic():
                index = SearchIndex.objects.create(
                    encoder=choice.info.name,
                    revision=choice.info.revision,
                    dimension=choice.info.dimension,
                    collection_name=_new_collection_name(),
                    reason=choice.reason,
                    status=SearchIndex.Status.ACTIVE,
                    activated_at=timezone.now(),
                )
        except IntegrityError:  # another process was first
            index = SearchIndex.objects.get(status=SearchIndex.Status.ACTIVE)
    if not milvus.fails_for_good():
        mend_collection(index)
    elif not restore_collection(index):
        _verify_what_differs(index)
    return index, created


def _verify_what_differs(index: SearchIndex) -> None:
    """Have the index compared with PostgreSQL where not even the numbers agree.

    Milvus Lite does without files that are gone and leaves out what it can't read of its log.
    """
    there = index.indexings.filter(indexed_at__isnull=False).count()
    if index.refilled_to is None and milvus.count(index.collection_name) != there:
        start_run(index, IndexRun.Kind.VERIFY, options={"repair": True})


def _starter_was_replaced(index: SearchIndex) -> bool:
    return index.encoder == STARTER and index.revision != describe(STARTER).revision


def _change_to_new_starter(outdated: SearchIndex) -> SearchIndex:
    """Use a new generation at once, although its photos are still to be embedded.

    The old starter is gone with the upgrade: nothing could be searched by words until then.
    """
    try:
        index = start_build(STARTER, reason=_("An upgrade brought a new starter encoder."))
    except NotPossible as obstacle:
        logger.warning("the starter encoder was replaced, and its index is not: %s", obstacle)
        return outdated
    activate(index, force=True)
    drop(outdated)
    return index


def mend_collection(index: SearchIndex, *, by: User | None = None) -> bool:
    """Make the generation's collection where it is missing, and have it filled again.

    Returns whether vectors were lost. Raises MilvusUnavailable.
    """
    if not milvus.ensure_collection(index.collection_name, index.dimension):
        return False
    with transaction.atomic():
        return _have_refilled(index, by=by)


def restore_collection(index: SearchIndex, *, by: User | None = None) -> bool:
    """As `mend_collection`, and a collection that can't be searched is made anew as well.

    Returns whether vectors were lost. Raises MilvusUnavailable.
    """
    try:
        lost = mend_collection(index, by=by)
        milvus.try_collection(index.collection_name, index.dimension)
    except CollectionDamaged as error:
        return replace_collection(index, reason=str(error), by=by)
    return lost


def replace_collection(index: SearchIndex, *, reason: str, by: User | None = None) -> bool:
    """Give up a damaged collection for a new one, and have that filled from PostgreSQL.

    The new one has a name of its own: what is left of the other may not let itself be removed.
    Two that find it damaged replace it once. Returns whether vectors were lost. Raises
    MilvusUnavailable.
    """
    damaged, name = index.collection_name, _new_collection_name()
    milvus.ensure_collection(name, index.dimension)
    with transaction.atomic():
        current = SearchIndex.objects.select_for_update().get(pk=index.pk)
        if replaced := current.collection_name == damaged:
            SearchIndex.objects.filter(pk=index.pk).update(collection_name=name)
            index.collection_name = name
            lost = _have_refilled(index, by=by, reason=reason)
    if not replaced:  # by somebody else meanwhile
        milvus.drop_collection(name)
        index.refresh_from_db()
        return index.refilled_to is not None
    logger.error(
        "Milvus can't use the collection %s (%s): %s takes its place", damaged, reason, name
    )
    try:
        milvus.drop_collection(damaged)
    except MilvusUnavailable as error:
        logger.warning("the collection %s could not be removed: %s", damaged, error)
    return lost


def _have_refilled(index: SearchIndex, *, by: User | None = None, reason: str = "") -> bool:
    """Have an empty collection filled, from the first photo on; whether there is anything to fill.

    `reason` says why it was made anew where it was damaged.
    """
    # What an earlier one put back is gone as well, so none goes on from where it was.
    index.runs.filter(
        kind=IndexRun.Kind.REFILL, state__in=[IndexRun.State.RUNNING, IndexRun.State.INTERRUPTED]
    ).update(
        state=IndexRun.State.FAILED,
        finished_at=timezone.now(),
        error=gettext_noop("The collection was created again in the meantime."),
    )
    if not index.indexings.filter(indexed_at__isnull=False).exists():
        return False
    SearchIndex.objects.filter(pk=index.pk).update(refilled_to=0)
    index.refilled_to = 0
    run = start_run(index, IndexRun.Kind.REFILL, by=by)
    if reason:
        run.findings = {DAMAGED: reason}
        run.save(update_fields=["findings"])
    return True


def start_build(
    encoder: str,
    *,
    by: User | None = None,
    reason: str = "",
    activate_when_complete: bool = False,
) -> SearchIndex:
    """Start a generation for `encoder` (as `SEARCH_ENCODER` names it) beside the active one.

    The encoder is only described here, which takes a few seconds at most: its weights, where they
    are not on the machine, are fetched by the worker.

    Raises:
        NotPossible: one is being built already.
        EncoderUnavailable
        MilvusUnavailable
    """
    if (other := SearchIndex.objects.building().first()) is not None:
        raise NotPossible(
            _("A generation for “%(name)s” is being built: activate or cancel it first.")
            % {"name": other.encoder}
        )
    info = describe(encoder)
    name = _new_collection_name()
    milvus.ensure_collection(name, info.dimension)
    with transaction.atomic():
        # One at a time, however many administrators press the button.
        list(SearchIndex.objects.select_for_update().living())
        if SearchIndex.objects.building().exists():
            raise NotPossible(_("Another generation is being built."))
        index = SearchIndex.objects.create(
            encoder=info.name,
            revision=info.revision,
            dimension=info.dimension,
            collection_name=name,
            reason=reason or _asked_for(by),
            activate_when_complete=activate_when_complete,
        )
        record_run(index, IndexRun.Kind.BUILD, by=by)
    return index


def _asked_for(by: User | None) -> str:
    if by is None:
        return _("It was asked for on the command line.")
    return _("It was asked for by %(name)s.") % {"name": by}


def pause(index: SearchIndex) -> None:
    """Have the workers leave a building generation alone. Raises NotPossible."""
    changed = SearchIndex.objects.building().filter(pk=index.pk, paused_at=None)
    if not changed.update(paused_at=timezone.now()):
        raise NotPossible(_("Only a generation that is being built can be paused."))


def resume(index: SearchIndex) -> None:
    """Go on with a paused generation. Raises NotPossible."""
    if not SearchIndex.objects.building().filter(pk=index.pk).update(paused_at=None):
        raise NotPossible(_("Only a generation that is being built can go on."))


def cancel(index: SearchIndex, *, by: User | None = None) -> None:
    """Give up a building generation and drop what there is of it. Raises NotPossible."""
    with transaction.atomic():
        reason = _("Cancelled by %(name)s.") % {"name": by} if by else _("Cancelled.")
        changed = SearchIndex.objects.building().filter(pk=index.pk)
        if not changed.update(status=SearchIndex.Status.FAILED, error=reason):
            raise NotPossible(_("Only a generation that is being built can be cancelled."))
        finish_runs(index, kind=IndexRun.Kind.BUILD, state=IndexRun.State.FAILED, error=reason)
        index.refresh_from_db()
        drop(index, by=by)


def lost_by_switching_to(index: SearchIndex) -> int:
    """How many photos can be found now and could not be found after switching to `index`.

    Photos that failed in it, for a reason that their owners can read, are not counted, nor are
    those that can't be rendered any more: nothing could embed them.
    """
    active = SearchIndex.objects.active()
    if active is None or active.pk == index.pk:
        return 0
    settled = index.indexings.filter(photo=OuterRef("photo")).filter(
        Q(indexed_at__isnull=False) | Q(state=PhotoIndexing.State.FAILED)
    )
    found_now = active.indexings.filter(indexed_at__isnull=False, photo__state=Photo.State.READY)
    return found_now.filter(~Exists(settled)).count()


def complete_builds() -> None:
    """Note the generations whose photos are all in, and activate those that wait for it."""
    for index in SearchIndex.objects.building().filter(backfilled_to=None, paused_at=None):
        if index.completed_at is None:
            if (found := progress(index)).waiting:
                continue
            if found.unknown:
                # Photos that became ready while the generation was being created.
                SearchIndex.objects.filter(pk=index.pk).update(backfilled_to=0)
                continue
            SearchIndex.objects.filter(pk=index.pk).update(completed_at=timezone.now())
            finish_runs(
                index,
                kind=IndexRun.Kind.BUILD,
                state=IndexRun.State.DONE,
                findings={"searchable": found.searchable, "failed": found.failed},
            )
        if index.activate_when_complete and not lost_by_switching_to(index):
            activate(index)


def activate(index: SearchIndex, *, by: User | None = None, force: bool = False) -> None:
    """Have searches use `index` from now on: a finished build, or a retired one to roll back to.

    One transaction; the generation before is retired and kept.

    Raises:
        NotPossible: it is neither, or (unless `force`) photos that can be found now could not be
            found with it yet.
    """
    with transaction.atomic():
        rows = list(SearchIndex.objects.select_for_update().kept().order_by("pk"))
        chosen = next((row for row in rows if row.pk == index.pk), None)
        if chosen is None or chosen.status not in {
            SearchIndex.Status.BUILDING,
            SearchIndex.Status.RETIRED,
        }:
            raise NotPossible(_("This generation is neither built nor kept: it can't be used."))
        rolls_back = chosen.status == SearchIndex.Status.RETIRED
        if not rolls_back and not force and (lost := lost_by_switching_to(chosen)):
            raise NotPossible(
                ngettext(
                    "%(count)d photo that can be found now is not in it yet.",
                    "%(count)d photos that can be found now are not in it yet.",
                    lost,
                )
                % {"count": lost}
            )
        now = timezone.now()
        for row in rows:
            if row.status == SearchIndex.Status.ACTIVE:
                row.status, row.retired_at = SearchIndex.Status.RETIRED, now
                row.save(update_fields=["status", "retired_at"])
        chosen.status, chosen.activated_at = SearchIndex.Status.ACTIVE, now
        chosen.retired_at = chosen.paused_at = None
        chosen.activate_when_complete = False
        chosen.completed_at = chosen.completed_at or now
        if rolls_back:
            # What was added since it was retired.
            chosen.backfilled_to = 0
        chosen.save()
        finish_runs(chosen, kind=IndexRun.Kind.BUILD, state=IndexRun.State.DONE)
        kind = IndexRun.Kind.ROLL_BACK if rolls_back else IndexRun.Kind.ACTIVATE
        record_run(chosen, kind, by=by, state=IndexRun.State.DONE)
        if rolls_back:
            # Photos that changed since: their vectors hold what was true then.
            start_run(chosen, IndexRun.Kind.VERIFY, by=by, options={"repair": True})
    index.refresh_from_db()


def drop(index: SearchIndex, *, by: User | None = None) -> None:
    """Have the collection and the embeddings of a retired or failed generation removed.

    Its row stays, for the history. Raises NotPossible.
    """
    with transaction.atomic():
        changed = SearchIndex.objects.kept().filter(
            pk=index.pk, status__in=[SearchIndex.Status.RETIRED, SearchIndex.Status.FAILED]
        )
        if not changed.update(dropped_at=timezone.now()):
            raise NotPossible(_("Only a generation that is not in use can be dropped."))
        start_run(index, IndexRun.Kind.DROP, by=by)
    index.refresh_from_db()


def _new_collection_name() -> str:
    return f"photos_{timezone.now():%Y%m%d%H%M%S%f}"
