"""Answers to the front's own questions, with all that an answer of the site's has."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException, AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request

from accounts.authentication import AccessTokenAuthentication
from accounts.models import User
from t2isearch import outages
from t2isearch.front.verdicts import QUESTION, Refusal, WhoIsIt
from t2isearch.problems import problem_response


class FrontMiddleware:
    """Answers what the front asks, and hands on what clients ask."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        match request.META.get(QUESTION):
            case WhoIsIt() as question:
                return who_is_it(request, question)
            case Refusal() as refusal:
                return refused(request, refusal)
        return self.get_response(request)


def who_is_it(request: HttpRequest, question: WhoIsIt) -> HttpResponseBase:
    """Note in `question` who is signed in, else say that one has to be."""
    try:
        person = _signed_in(request)
    except AuthenticationFailed as error:
        return _problem(error, request)
    if person is not None:
        question.person = person.pk
        return HttpResponse(status=204)
    if not question.sign_in:
        return refused(request, Refusal.TOO_LARGE)
    if request.path.startswith("/api/"):
        return _problem(NotAuthenticated(), request)
    return redirect_to_login(request.get_full_path())


def _signed_in(request: HttpRequest) -> User | None:
    """As the views do: by a token, else by the session.

    Raises:
        AuthenticationFailed: the token is no good.
    """
    if (found := AccessTokenAuthentication().authenticate(Request(request))) is not None:
        return found[0]
    return request.user if isinstance(request.user, User) and request.user.is_active else None


def _problem(error: APIException, request: HttpRequest) -> HttpResponse:
    error.auth_header = AccessTokenAuthentication().authenticate_header(  # type: ignore[attr-defined]
        Request(request)
    )
    return problem_response(error, request)


class Refused(APIException):
    def __init__(self, refusal: Refusal, sentence: str) -> None:
        self.status_code = refusal.value
        super().__init__(sentence, refusal.name.lower())


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Why a request is not taken in, as a page or as a problem."""
    match refusal:
        case Refusal.TOO_LARGE:
            sentence = _("The request is larger than this site accepts.")
        case Refusal.TOO_SLOW:
            sentence = _("The request did not arrive in time. Please try again.")
        case Refusal.NO_ROOM:
            return outages.answer(outages.no_room(), request)
    if request.path.startswith("/api/"):
        return problem_response(Refused(refusal, sentence), request)
    context = {"status": refusal.value, "sentence": sentence}
    return render(request, "refused.html", context, status=refusal.value)
