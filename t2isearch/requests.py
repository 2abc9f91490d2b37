"""Reading what clients send."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponseBase
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.authentication import AccessTokenAuthentication, allows
from accounts.models import Scope, User
from accounts.permissions import MissingScope
from t2isearch.problems import problem_response

Rest = ParamSpec("Rest")
View = Callable[Concatenate[HttpRequest, Rest], HttpResponseBase]

# PostgreSQL's bigint; anything larger can't be the key of a row.
LARGEST_KEY = 2**63 - 1


def positive_ints(text: str) -> list[int]:
    """The row keys in a comma-separated list; whatever is no row key is left out."""
    # The length is checked first: Python refuses to parse, and people to send, huge numbers.
    numbers = (
        int(part)
        for part in text.split(",")
        if part.isascii() and part.isdigit() and len(part) < 20
    )
    return [number for number in numbers if 0 < number <= LARGEST_KEY]


def signed_in(request: HttpRequest | Request) -> User:
    """The person behind a request that only signed-in people can make."""
    if not isinstance(request.user, User):
        raise TypeError("the view lets in people who are not signed in")
    return request.user


def login_or_token_required(scope: Scope) -> Callable[[View[Rest]], View[Rest]]:
    """`login_required` for a page whose address the API names: its clients come with a token."""

    def decorate(view: View[Rest]) -> View[Rest]:
        with_login = login_required(view)

        @wraps(view)
        def guarded(
            request: HttpRequest, *args: Rest.args, **kwargs: Rest.kwargs
        ) -> HttpResponseBase:
            asked = Request(request)
            authentication = AccessTokenAuthentication()
            try:
                found = authentication.authenticate(asked)
            except AuthenticationFailed as error:
                error.auth_header = authentication.authenticate_header(asked)  # type: ignore[attr-defined]
                return problem_response(error, request)
            if found is not None:
                request.user = found[0]
                if not allows(found[1], scope):
                    return problem_response(MissingScope(scope), request)
            return with_login(request, *args, **kwargs)

        return cast("View[Rest]", guarded)

    return decorate
