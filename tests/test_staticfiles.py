from __future__ import annotations

from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from t2isearch.staticfiles import StaticFilesStorage
from tests.damages import DAMAGES, damage, remove


def test_our_modules_import_each_other_by_their_hashed_names(tmp_path: Path) -> None:
    storage = StaticFilesStorage(location=tmp_path, base_url="/static/")
    scripts = {
        "js/a.js": 'import { b } from "./b.js";\nb();\n',
        "js/b.js": "export function b() {}\n",
        # Another package's, which imports what is not there.
        "django_htmx/ext.js": 'import htmx from "htmx";\n',
    }
    for name, script in scripts.items():
        storage.save(name, ContentFile(script.encode()))
    problems = [
        processed
        for _, _, processed in storage.post_process({name: (storage, name) for name in scripts})
        if isinstance(processed, Exception)
    ]
    assert problems == []
    hashed = storage.stored_name("js/b.js").removeprefix("js/")
    script = (tmp_path / storage.stored_name("js/a.js")).read_text()
    assert f'from "./{hashed}"' in script
    assert hashed != "b.js"


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_manifest_is_made_anew(tmp_path: Path, how: str) -> None:
    def collect() -> StaticFilesStorage:
        storage = StaticFilesStorage(location=tmp_path, base_url="/static/")
        if not storage.exists("a.css"):
            storage.save("a.css", ContentFile(b"a {}"))
        list(storage.post_process({"a.css": (storage, "a.css")}))
        return storage

    url = collect().url("a.css")
    damage(tmp_path / "staticfiles.json", how)
    if how == "a directory":
        remove(tmp_path / "staticfiles.json")
    assert collect().url("a.css") == url
    assert StaticFilesStorage(location=tmp_path, base_url="/static/").url("a.css") == url
