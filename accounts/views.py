"""The pages about an account that are not django-allauth's own."""

from __future__ import annotations

from allauth.account.decorators import reauthentication_required
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from accounts.forms import DeleteAccountForm
from accounts.services import delete_account, storage_of
from t2isearch.requests import signed_in


@require_safe
@never_cache
@login_required
def profile(request: HttpRequest) -> HttpResponse:
    """Who one is here, what one stores, and what can be changed."""
    user = signed_in(request)
    context = {"storage": storage_of(user=user), "two_step": is_mfa_enabled(user)}
    return render(request, "accounts/profile.html", context)


def has_no_password(request: HttpRequest) -> bool:
    return not signed_in(request).has_usable_password()


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password")
@never_cache
@login_required
@reauthentication_required(enabled=has_no_password)  # type: ignore[untyped-decorator]
def delete(request: HttpRequest) -> HttpResponse:
    """Delete the account with everything in it, after the password was given once more.

    Who has none gives the second step.
    """
    user = signed_in(request)
    form = DeleteAccountForm(request.POST if request.method == "POST" else None, user=user)
    if request.method == "POST" and form.is_valid():
        delete_account(user=user)
        logout(request)
        messages.success(request, _("Your account and all its photos are deleted."))
        return redirect("account_login")
    return render(request, "accounts/delete.html", {"form": form, "storage": storage_of(user=user)})
