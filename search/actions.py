"""What an administrator can do with a generation: who may, what is asked first, what is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import User
from gallery.models import Photo
from search import generations
from search.models import PhotoIndexing, SearchIndex
from search.reindexing import FAILED, reindex
from search.tasks import index_photos
from t2isearch.dispatch import wake


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before something is done that people would notice.

    `lost` is how many photos can't be found for a while afterwards: who says yes accepts that many.
    """

    title: str
    text: str
    button: str
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do with one generation.

    `permission` is that on `SearchIndex`: add, change or delete. `do` returns one sentence that
    says what was done, for the person and the admin's log; it raises NotPossible.
    """

    name: str
    label: str | Promise
    permission: str
    applies: Callable[[SearchIndex], bool]
    do: Callable[[SearchIndex, User, int], str]
    question: Callable[[SearchIndex], Question] | None = None

    @property
    def asks_first(self) -> bool:
        return self.question is not None

    @property
    def is_dangerous(self) -> bool:
        return self.permission == "delete"


def _is_building(index: SearchIndex) -> bool:
    return index.status == SearchIndex.Status.BUILDING


def _pause(index: SearchIndex, by: User, lost: int) -> str:
    generations.pause(index)
    return _("The build of “%(name)s” is paused.") % {"name": index.encoder}


def _resume(index: SearchIndex, by: User, lost: int) -> str:
    generations.resume(index)
    wake(index_photos)
    return _("The build of “%(name)s” goes on.") % {"name": index.encoder}


def _cancel(index: SearchIndex, by: User, lost: int) -> str:
    generations.cancel(index, by=by)
    return _("The build of “%(name)s” is cancelled.") % {"name": index.encoder}


def _ask_cancel(index: SearchIndex) -> Question:
    found = generations.progress(index)
    return Question(
        title=_("Cancel the build?"),
        text=ngettext(
            "What was built of “%(name)s”, %(number)s photo so far, is removed. Searches stay as "
            "they are.",
            "What was built of “%(name)s”, %(number)s photos so far, is removed. Searches stay as "
            "they are.",
            found.searchable,
        )
        % {"name": index.encoder, "number": f"{found.searchable:,}"},
        button=_("Cancel the build"),
    )


def _activate(index: SearchIndex, by: User, lost: int) -> str:
    generations.activate(index, by=by, force=lost > 0)
    wake(index_photos)
    return _("Searches use “%(name)s” now.") % {"name": index.encoder}


def _ask_activate(index: SearchIndex) -> Question:
    lost = generations.lost_by_switching_to(index)
    if lost:
        text = ngettext(
            "%(number)s photo that people can find now is not in “%(name)s” yet: it will be "
            "missing from all results until it has been taken in.",
            "%(number)s photos that people can find now are not in “%(name)s” yet: they will be "
            "missing from all results until they have been taken in.",
            lost,
        )
    else:
        text = _(
            "Searches will use “%(name)s” from the next one on. It holds every photo that can be "
            "found now. The generation before is kept, to roll back to."
        )
    return Question(
        title=_("Activate this generation?"),
        text=text % {"name": index.encoder, "number": f"{lost:,}"},
        button=_("Activate it all the same") if lost else _("Activate"),
        lost=lost,
    )


def _roll_back(index: SearchIndex, by: User, lost: int) -> str:
    generations.activate(index, by=by)
    wake(index_photos)
    return _("Rolled back: searches use “%(name)s” again.") % {"name": index.encoder}


def _ask_roll_back(index: SearchIndex) -> Question:
    lost = generations.lost_by_switching_to(index)
    if lost:
        text = ngettext(
            "Searches will use “%(name)s” again. %(number)s photo was added since and is missing "
            "from all results until the workers have taken it in, which they begin at once.",
            "Searches will use “%(name)s” again. %(number)s photos were added since and are "
            "missing from all results until the workers have taken them in, which they begin at "
            "once.",
            lost,
        )
    else:
        text = _("Searches will use “%(name)s” again. No photo was added since.")
    return Question(
        title=_("Roll back to this generation?"),
        text=text % {"name": index.encoder, "number": f"{lost:,}"},
        button=_("Roll back"),
        lost=lost,
    )


def _drop(index: SearchIndex, by: User, lost: int) -> str:
    generations.drop(index, by=by)
    return _("The vectors of “%(name)s” are being removed.") % {"name": index.encoder}


def _ask_drop(index: SearchIndex) -> Question:
    number = index.indexings.filter(indexed_at__isnull=False).count()
    return Question(
        title=_("Drop this generation?"),
        text=ngettext(
            "The vector of %(number)s photo in “%(name)s” is removed for good. There is no rolling "
            "back to it afterwards; building it anew embeds every photo again.",
            "The vectors of %(number)s photos in “%(name)s” are removed for good. There is no "
            "rolling back to it afterwards; building it anew embeds every photo again.",
            number,
        )
        % {"name": index.encoder, "number": f"{number:,}"},
        button=_("Drop"),
    )


def _retry_failed(index: SearchIndex, by: User, lost: int) -> str:
    reindex(index, scope=FAILED, by=by)
    return _("The photos that failed in “%(name)s” are tried again.") % {"name": index.encoder}


def _has_failed_photos(index: SearchIndex) -> bool:
    if not index.is_living:
        return False
    failed = index.indexings.filter(state=PhotoIndexing.State.FAILED)
    return failed.exists() or Photo.objects.filter(state=Photo.State.FAILED).exists()


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "activate", gettext_lazy("Activate"), "change", _is_building, _activate, _ask_activate
        ),
        Action(
            "pause",
            gettext_lazy("Pause"),
            "change",
            lambda index: _is_building(index) and index.paused_at is None,
            _pause,
        ),
        Action(
            "resume",
            gettext_lazy("Resume"),
            "change",
            lambda index: _is_building(index) and index.paused_at is not None,
            _resume,
        ),
        Action(
            "roll-back",
            gettext_lazy("Roll back"),
            "change",
            lambda index: index.status == SearchIndex.Status.RETIRED and index.dropped_at is None,
            _roll_back,
            _ask_roll_back,
        ),
        Action(
            "retry-failed",
            gettext_lazy("Retry failed"),
            "change",
            _has_failed_photos,
            _retry_failed,
        ),
        Action("cancel", gettext_lazy("Cancel"), "delete", _is_building, _cancel, _ask_cancel),
        Action(
            "drop",
            gettext_lazy("Drop"),
            "delete",
            lambda index: not index.is_living and index.dropped_at is None,
            _drop,
            _ask_drop,
        ),
    )
}
