from __future__ import annotations

from allauth.account.adapter import get_adapter
from django.core import exceptions as django_exceptions
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.authtoken.serializers import AuthTokenSerializer as DefaultSerializer
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.exceptions import Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.tokens import create_password_token
from t2isearch.api_errors import errors
from t2isearch.throttles import ScopeThrottle

# After so many seconds a guess may be made again, at the latest.
GUESS_WAIT_S = 300


class AuthTokenSerializer(DefaultSerializer):
    """The person to a name or address and a password, counted with the guesses on the pages."""

    def validate(self, attrs: dict[str, str]) -> dict[str, object]:
        request = self.context["request"]._request
        try:
            user = get_adapter(request).authenticate(request, **attrs)
        except django_exceptions.ValidationError as error:
            raise Throttled(wait=GUESS_WAIT_S, detail=" ".join(error.messages)) from error
        if user is None or not user.is_active:
            raise ValidationError(
                _("Unable to log in with provided credentials."), code="authorization"
            )
        return {"user": user}


class TokenView(ObtainAuthToken):
    """A token for a user name (or e-mail address) and password."""

    # Who asks for a token may still send an old one.
    authentication_classes = []
    throttle_classes = [ScopeThrottle]
    throttle_scope = "token"
    serializer_class = AuthTokenSerializer

    @extend_schema(
        request=AuthTokenSerializer,
        responses={200: AuthTokenSerializer, **errors(400, 406, 415, 429, 503)},
        auth=[],
    )
    def post(self, request: Request, *args: object, **kwargs: object) -> Response:
        """Get a token."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            new = create_password_token(owner=serializer.validated_data["user"])
        except django_exceptions.ValidationError as error:
            raise ValidationError({"non_field_errors": error.messages}) from error
        return Response({"token": new.secret})
