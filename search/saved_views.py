"""Recent and saved searches, and what the box suggests."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from search import history
from search.models import SavedSearch
from search.query import Order
from search.search_forms import LONGEST_QUERY, SaveSearchForm
from t2isearch.page_rates import limited
from t2isearch.requests import signed_in


@require_safe
@never_cache
@login_required
@limited("search")
def suggestions(request: HttpRequest) -> JsonResponse:
    """What may be meant by what stands in the box (`q`)."""
    typed = request.GET.get("q", "")[:LONGEST_QUERY].replace("\x00", "")
    found = history.suggestions(signed_in(request), typed)
    return JsonResponse(
        {
            "suggestions": [
                {"kind": each.kind, "label": each.label, "query": each.query} for each in found
            ]
        }
    )


@require_POST
@login_required
def clear_recent(request: HttpRequest) -> HttpResponse:
    """Forget what the person searched for."""
    history.forget_searches(signed_in(request))
    messages.success(request, _("Your recent searches are cleared."))
    return redirect("search:results")


@require_POST
@login_required
def save(request: HttpRequest) -> HttpResponse:
    """Give a search a name."""
    form = SaveSearchForm(request.POST)
    if form.is_valid():
        try:
            saved = history.save_search(owner=signed_in(request), **form.cleaned_data)
        except ValidationError as error:
            problems = error.messages
        else:
            messages.success(request, _("“%(name)s” is saved.") % {"name": saved.name})
            return redirect(address_of(saved))
    else:
        problems = [str(error) for errors in form.errors.values() for error in errors]
    messages.error(request, " ".join(problems))
    back = request.POST.get("query", "")[:LONGEST_QUERY]
    return redirect(f"{reverse('search:results')}?{urlencode({'q': back})}")


@require_safe
@login_required
def saved(request: HttpRequest) -> HttpResponse:
    """The person's saved searches."""
    return render(request, "search/saved.html")


@require_POST
@login_required
def delete_saved(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget a saved search; no photo goes with it."""
    gone = get_object_or_404(history.saved_searches(signed_in(request)), pk=pk)
    gone.delete()
    messages.success(request, _("“%(name)s” is no longer saved.") % {"name": gone.name})
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts=None):
        back = reverse("search:saved")
    return redirect(back)


def address_of(saved_search: SavedSearch) -> str:
    """Where the results of a saved search are."""
    values = {"q": saved_search.query}
    if saved_search.by_date:
        values["order"] = Order.DATE.value
    return f"{reverse('search:results')}?{urlencode(values)}"
