"""t2isearch: people find their own photos by describing them."""

try:
    from t2isearch.celery import app as celery_app
except ModuleNotFoundError as error:
    # Nothing here works without its packages: a sentence rather than a traceback.
    raise SystemExit(
        f"The installation is not complete, {error.name} is missing: run `make install`."
    ) from error

__all__ = ["celery_app"]
__version__ = "0.1.0"
