"""The pages of a person's access tokens."""

from __future__ import annotations

from allauth.account.decorators import reauthentication_required
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.forms import AccessTokenForm
from accounts.models import AccessToken, Scope
from accounts.tokens import create_token, revoke_token
from t2isearch.requests import signed_in


@require_safe
@never_cache
@login_required
def tokens(request: HttpRequest) -> HttpResponse:
    """The person's tokens, the newest first."""
    context = {"tokens": AccessToken.objects.owned_by(signed_in(request))}
    return render(request, "accounts/tokens.html", context)


# It opens the account for longer than the session that makes it: the password is asked once more.
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
@reauthentication_required  # type: ignore[untyped-decorator]
def new_token(request: HttpRequest) -> HttpResponse:
    """Make a token, and show its secret this once."""
    everything = {"scopes": [scope.value for scope in Scope]}
    form = AccessTokenForm(request.POST if request.method == "POST" else None, initial=everything)
    if request.method == "POST" and form.is_valid():
        try:
            made = create_token(
                owner=signed_in(request),
                name=form.cleaned_data["name"],
                scopes=form.chosen_scopes,
                expires_at=form.expires_at,
            )
        except ValidationError as error:
            form.add_error("name", ValidationError(error.messages))
        else:
            # No redirect: the secret would have to be kept for the next request.
            context = {"token": made.token, "secret": made.secret}
            return render(request, "accounts/token_created.html", context)
    return render(request, "accounts/token_new.html", {"form": form})


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke a token, after a question."""
    token = get_object_or_404(AccessToken.objects.owned_by(signed_in(request)), pk=pk)
    if request.method == "POST":
        revoke_token(token)
        messages.success(request, _("“%(name)s” is revoked.") % {"name": token})
        return redirect("accounts:tokens")
    return render(request, "accounts/token_revoke.html", {"token": token})
