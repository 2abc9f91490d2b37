from __future__ import annotations

import time

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from accounts.models import Scope
from gallery.models import Photo
from search.api.serializers import ResultPageSerializer
from search.filters import UnknownAlbum
from search.images import ImageFailed, ImageGone, ImagePending
from search.query import (
    LONGEST_OFFSET,
    NothingMeant,
    NotSearchableYet,
    Order,
    ResultPage,
    SearchUnavailable,
    search_photos,
)
from search.search_forms import LONGEST_QUERY, MOST_RESULTS, SearchForm
from search.snapshots import BadCursor
from t2isearch.api_errors import SIGNED_IN, errors
from t2isearch.requests import signed_in


class Unavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = gettext_lazy("The search is not available right now.")
    default_code = "search_unavailable"
    wait = 10


class SearchView(APIView):
    """The signed-in person's photos that fit a description, most similar first."""

    throttle_scope = "search"
    required_scopes = {"get": Scope.SEARCH}

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "q",
                {"type": "string", "maxLength": LONGEST_QUERY},
                description=(
                    'What is on the photo, in the language of the search box: words, `"…" + '
                    '"…"`, weights such as `2:beach`, `photo:ID`, `after:2024-05`, '
                    '`album:"…"`, `is:favourite`. Needed unless `photo` is given.'
                ),
            ),
            OpenApiParameter(
                "photo",
                {"type": "integer", "format": "int64", "minimum": 1},
                description="A photo of one's own to compare with.",
            ),
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST_RESULTS}),
            OpenApiParameter(
                "offset", {"type": "integer", "minimum": 0, "maximum": LONGEST_OFFSET}
            ),
            OpenApiParameter(
                "cursor",
                {"type": "string", "maxLength": 1000},
                description="Where a page ended, from its `next`. Worth more than `offset`.",
            ),
            OpenApiParameter("taken_after", OpenApiTypes.DATE),
            OpenApiParameter("taken_before", OpenApiTypes.DATE),
            OpenApiParameter("order", enum=[each.value for each in Order]),
            OpenApiParameter(
                "weak",
                OpenApiTypes.BOOL,
                description="With the photos that are no closer than chance would have it.",
            ),
        ],
        responses={200: ResultPageSerializer, **SIGNED_IN, **errors(400, 404, 503)},
    )
    def get(self, request: Request) -> Response:
        started = time.perf_counter()
        form = SearchForm(request.query_params)
        if not form.is_valid():
            raise serializers.ValidationError(
                {name: [str(error) for error in errors] for name, errors in form.errors.items()}
            )
        wanted = form.cleaned_data
        if not form.plan:
            raise serializers.ValidationError({"q": [_("Say what to look for.")]})
        page = self._page(request, form)
        following = None
        if page.next_cursor is not None:
            url = remove_query_param(request.build_absolute_uri(), "offset")
            following = replace_query_param(url, "cursor", page.next_cursor)
        data = {
            "query": wanted["q"],
            "encoder": page.encoder,
            "took_ms": round((time.perf_counter() - started) * 1000),
            "results": page.results,
            "next": following,
        }
        return Response(ResultPageSerializer(data, context={"request": request}).data)

    def _page(self, request: Request, form: SearchForm) -> ResultPage:
        wanted = form.cleaned_data
        try:
            return search_photos(
                owner=signed_in(request),
                plan=form.plan,
                limit=wanted["limit"] or settings.SEARCH_PAGE_SIZE,
                offset=wanted["offset"] or 0,
                cursor=wanted["cursor"],
                order=wanted["order"],
                weak=wanted["weak"],
            )
        except SearchUnavailable as error:
            raise Unavailable(str(error)) from error
        except NotSearchableYet as error:
            raise Unavailable(_("This photo is not searchable yet.")) from error
        except ImagePending as error:
            raise Unavailable(_("This picture is not understood yet.")) from error
        except (Photo.DoesNotExist, ImageGone) as error:
            raise NotFound from error
        except BadCursor as error:
            raise serializers.ValidationError(
                {"cursor": [_("This cursor is not one of this search.")]}
            ) from error
        except (UnknownAlbum, NothingMeant, ImageFailed) as error:
            raise serializers.ValidationError({"q": [str(error)]}) from error
