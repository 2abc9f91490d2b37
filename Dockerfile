# One image for setup, web, workers and beat: docker-compose.yml says which command each runs.
# Of Python the patch release is left open, for its security fixes.
FROM python:3.11-slim-bookworm

# HOME: docker-compose.yml makes everything but /tmp and the volume read-only, and libraries want to
# keep a cache.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 HOME=/tmp \
    VAR_DIR=/var/lib/t2isearch HF_HOME=/var/lib/t2isearch/models

RUN useradd --system --create-home --uid 10001 t2isearch \
    && install --directory --mode 0711 --owner t2isearch --group t2isearch /var/lib/t2isearch

WORKDIR /app
COPY requirements.txt .
# torch comes with CUDA unless this names an index with CPU builds, which saves gigabytes:
# docker compose build --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL=
RUN pip install --requirement requirements.txt
COPY . .

USER t2isearch
# Photos (unless they are kept in S3), static files and downloaded encoders.
VOLUME /var/lib/t2isearch
EXPOSE 8000
CMD ["python", "-m", "t2isearch.front", "--host", "0.0.0.0", "--port", "8000"]
