from __future__ import annotations

from typing import Any

from rest_framework import serializers

from gallery.api.serializers import PhotoSerializer


class ResultSerializer(serializers.Serializer[Any]):
    """`score` is the cosine similarity of the photo to the query, -1 to 1; null for a query of
    filters alone. A `weak` result is no closer to the query than chance would have it.
    """

    score = serializers.FloatField(allow_null=True)
    weak = serializers.BooleanField()
    photo = PhotoSerializer()


class ResultPageSerializer(serializers.Serializer[Any]):
    query = serializers.CharField()
    encoder = serializers.CharField()
    took_ms = serializers.IntegerField()
    results = ResultSerializer(many=True)
    next = serializers.URLField(allow_null=True)
