"""The search console: a page of the admin that shows the index at work and steers it.

The page is made of sections that are fetched anew every two seconds. What is done from it is a
POST, checked against a permission on `SearchIndex`, and written to the admin's log.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from search import status
from search.actions import ACTIONS, Action
from search.encoders import EncoderUnavailable, needs_download
from search.forms import BuildForm, RefillForm, ReindexForm, VerifyForm
from search.generations import NotPossible, restore_collection, start_build
from search.milvus import MilvusUnavailable
from search.models import IndexRun, SearchIndex
from search.reindexing import reindex, reindex_missing
from search.runs import go_on, interrupt, start_run
from search.tasks import index_photos
from t2isearch.dispatch import wake
from t2isearch.requests import signed_in

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]

PERMISSIONS = ("view", "add", "change", "delete")


def may(request: HttpRequest, permission: str) -> bool:
    """Whether the person has `permission` (view, add, change, delete) on the search index."""
    return request.user.has_perm(f"search.{permission}_searchindex")


def permitted(permission: str) -> Callable[[View[P]], View[P]]:
    """Lets in those who may see the page and have `permission`; the others get a 403."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            require(request, permission)
            return view(request, *args, **kwargs)

        return checked

    return decorate


def require(request: HttpRequest, permission: str) -> None:
    if not (may(request, "view") and may(request, permission)):
        raise PermissionDenied


# The page


def _services() -> dict[str, Any]:
    return {
        "milvus": status.milvus_state(),
        "broker": status.broker_state(),
        "workers": status.workers(),
        "towers": status.loaded_towers(),
        "waiting": status.work_waiting(),
    }


def _generations() -> dict[str, Any]:
    return {"generations": status.generations()}


def _runs() -> dict[str, Any]:
    return {"runs": status.last_runs()}


SECTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "generations": _generations,
    "services": _services,
    "runs": _runs,
}
FORMS: dict[str, tuple[type[forms.Form], str]] = {
    "build": (BuildForm, "add"),
    "reindex": (ReindexForm, "change"),
    "verify": (VerifyForm, "change"),
    "refill": (RefillForm, "change"),
}


def _section_context(request: HttpRequest, name: str) -> dict[str, Any]:
    context = SECTIONS[name]()
    allowed = {permission: may(request, permission) for permission in PERMISSIONS}
    context["may"] = allowed
    if name == "generations":
        context["generations"] = [
            {
                "generation": generation,
                "actions": [
                    action
                    for action in ACTIONS.values()
                    if allowed[action.permission] and action.applies(generation.index)
                ],
            }
            for generation in context["generations"]
        ]
    return context


def _page(request: HttpRequest, bound: dict[str, forms.Form] | None = None) -> HttpResponse:
    """The whole page; `bound` holds a form that was refused, by its name."""
    context: dict[str, Any] = admin.site.each_context(request) | {"title": _("Search console")}
    for name in SECTIONS:
        context |= _section_context(request, name)
    context["forms"] = {
        name: (bound or {}).get(name) or form(prefix=name)
        for name, (form, permission) in FORMS.items()
        if may(request, permission)
    }
    return render(request, "admin/search/console.html", context)


@require_safe
@permitted("view")
def console(request: HttpRequest) -> HttpResponse:
    return _page(request)


@require_safe
@permitted("view")
def section(request: HttpRequest, name: str) -> HttpResponse:
    """One section, for the page to put in the place of the one it has."""
    if name not in SECTIONS:
        raise Http404
    return render(request, f"admin/search/_{name}.html", _section_context(request, name))


# What is done from it


def _done(request: HttpRequest, index: SearchIndex, sentence: str, flag: int = CHANGE) -> None:
    """Write it to the admin's log, and say it on the next page."""
    log_action(request, index, sentence, flag)
    messages.success(request, sentence)


def log_action(request: HttpRequest, index: SearchIndex, sentence: str, flag: int = CHANGE) -> None:
    LogEntry.objects.log_actions(signed_in(request).pk, [index], flag, sentence, single_object=True)


def _back() -> HttpResponse:
    return redirect("admin:search_console")


def act(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """Do something with a generation; a GET asks whether to, in a dialog or on a page."""
    action = ACTIONS.get(name)
    if action is None:
        raise Http404
    require(request, action.permission)
    index = get_object_or_404(SearchIndex, pk=pk)
    if request.method != "POST":
        if action.question is None:
            return _back()
        return _ask(request, index, action)
    accepted = _number(request.POST.get("lost"))
    if action.question is not None and (accepted is None or action.question(index).lost > accepted):
        # Not asked yet, or more than the person was told: photos were added meanwhile.
        return _ask(request, index, action)
    try:
        with transaction.atomic():
            _done(request, index, action.do(index, signed_in(request), accepted or 0))
    except NotPossible as error:
        messages.error(request, str(error))
    return _back()


def _ask(request: HttpRequest, index: SearchIndex, action: Action) -> HttpResponse:
    if action.question is None:
        raise Http404
    context: dict[str, Any] = {
        "index": index,
        "action": action,
        "question": action.question(index),
    }
    if request.headers.get("HX-Request"):
        return render(request, "admin/search/_question.html", context | {"in_dialog": True})
    context |= admin.site.each_context(request) | {"title": context["question"].title}
    return render(request, "admin/search/question.html", context)


def _number(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 19):
        return None
    return int(text)


@require_POST
@permitted("add")
def build(request: HttpRequest) -> HttpResponse:
    form = BuildForm(request.POST, prefix="build")
    if not form.is_valid():
        return _page(request, {"build": form})
    try:
        index = start_build(
            form.cleaned_data["encoder"],
            by=signed_in(request),
            activate_when_complete=form.cleaned_data["activate_when_complete"],
        )
    except EncoderUnavailable as error:
        form.add_error("encoder", str(error))
        return _page(request, {"build": form})
    except NotPossible as error:
        form.add_error(None, str(error))
        return _page(request, {"build": form})
    except MilvusUnavailable as error:
        form.add_error(None, _milvus_problem(error))
        return _page(request, {"build": form})
    wake(index_photos)
    sentence = _("The build of “%(name)s” has begun.") % {"name": index.encoder}
    if needs_download(index.encoder_info):
        sentence += " " + _("The worker fetches the model first.")
    _done(request, index, sentence, ADDITION)
    return _back()


def _milvus_problem(error: MilvusUnavailable) -> str:
    return _("Milvus can't be reached: %(problem)s") % {"problem": error}


@require_POST
@permitted("change")
def reindex_view(request: HttpRequest) -> HttpResponse:
    form = ReindexForm(request.POST, prefix="reindex")
    if not form.is_valid():
        return _page(request, {"reindex": form})
    index, owner = form.cleaned_data["index"], form.cleaned_data["owner"]
    scope, by = form.cleaned_data["scope"], signed_in(request)
    with transaction.atomic():
        if scope == ReindexForm.MISSING:
            run = reindex_missing(index, owner=owner, by=by)
        else:
            run = reindex(index, scope=scope, owner=owner, by=by)
        _say_run(request, run)
    return _back()


@require_POST
@permitted("change")
def verify(request: HttpRequest) -> HttpResponse:
    form = VerifyForm(request.POST, prefix="verify")
    if not form.is_valid():
        return _page(request, {"verify": form})
    options = {"repair": True} if form.cleaned_data["repair"] else {}
    with transaction.atomic():
        run = start_run(
            form.cleaned_data["index"],
            IndexRun.Kind.VERIFY,
            by=signed_in(request),
            owner=form.cleaned_data["owner"],
            options=options,
        )
        _say_run(request, run)
    return _back()


@require_POST
@permitted("change")
def refill(request: HttpRequest) -> HttpResponse:
    form = RefillForm(request.POST, prefix="refill")
    if not form.is_valid():
        return _page(request, {"refill": form})
    index, by = form.cleaned_data["index"], signed_in(request)
    try:
        restore_collection(index, by=by)
    except MilvusUnavailable as error:
        form.add_error(None, _milvus_problem(error))
        return _page(request, {"refill": form})
    with transaction.atomic():
        _say_run(request, start_run(index, IndexRun.Kind.REFILL, by=by))
    return _back()


def _say_run(request: HttpRequest, run: IndexRun) -> None:
    scope = status.scope_in_words(run)
    what = f"{run.get_kind_display()} ({scope})" if scope else run.get_kind_display()
    sentence = _("%(what)s of “%(name)s”: the workers are at it.")
    _done(request, run.index, sentence % {"what": what, "name": run.index.encoder})


@require_POST
@permitted("change")
def steer_run(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """Interrupt a run, or take it up again (`interrupt`, `go-on`)."""
    if name not in {"interrupt", "go-on"}:
        raise Http404
    run = get_object_or_404(IndexRun.objects.select_related("index", "owner"), pk=pk)
    names = {"kind": run.get_kind_display(), "name": run.index.encoder}
    with transaction.atomic():
        if name == "interrupt" and interrupt(run):
            sentence = _("%(kind)s of “%(name)s”: interrupted. It can go on later.") % names
        elif name == "go-on" and go_on(run):
            sentence = _("%(kind)s of “%(name)s”: goes on from where it stopped.") % names
        else:
            messages.error(request, _("This run has moved on meanwhile: look at it once more."))
            return _back()
        _done(request, run.index, sentence)
    return _back()


def urlpatterns(site: admin.AdminSite) -> list[URLPattern]:
    def inside(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        return site.admin_view(view)

    return [
        path("", inside(console), name="search_console"),
        path("sections/<slug:name>/", inside(section), name="search_console_section"),
        path("build/", inside(build), name="search_console_build"),
        path("reindex/", inside(reindex_view), name="search_console_reindex"),
        path("verify/", inside(verify), name="search_console_verify"),
        path("refill/", inside(refill), name="search_console_refill"),
        path("generations/<int:pk>/<slug:name>/", inside(act), name="search_console_act"),
        path("runs/<int:pk>/<slug:name>/", inside(steer_run), name="search_console_run"),
    ]
