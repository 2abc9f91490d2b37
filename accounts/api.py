from __future__ import annotations

from allauth.mfa.utils import is_mfa_enabled
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.authtoken.models import Token
from rest_framework.authtoken.serializers import AuthTokenSerializer
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from t2isearch.api_errors import errors
from t2isearch.throttles import ScopeThrottle


class TokenView(ObtainAuthToken):
    """A token for a user name (or e-mail address) and password."""

    # Who asks for a token may still send an old one.
    authentication_classes = []
    throttle_classes = [ScopeThrottle]
    throttle_scope = "token"

    @extend_schema(
        request=AuthTokenSerializer,
        responses={200: AuthTokenSerializer, **errors(400, 406, 415, 429, 503)},
        auth=[],
    )
    def post(self, request: Request, *args: object, **kwargs: object) -> Response:
        """Get a token."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        user = serializer.validated_data["user"]
        if is_mfa_enabled(user):
            # The password alone does not sign this person in on the pages either.
            sentence = _("This account signs in in two steps: a password alone gets no token.")
            raise ValidationError({"non_field_errors": [sentence]})
        token, _created = Token.objects.get_or_create(user=user)
        return Response({"token": token.key})
