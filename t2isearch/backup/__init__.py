"""Saving everything that can't be made again, PostgreSQL and the photos, and putting it back.

A backup is a folder: `database.dump` (pg_dump's custom format), `media/` with the files under their
names in the storage, `files.jsonl`, which lists them, and `manifest.json`, written last: a folder
without it is not complete.
"""
