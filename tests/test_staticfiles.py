from __future__ import annotations

from pathlib import Path

from django.core.files.base import ContentFile

from t2isearch.staticfiles import StaticFilesStorage


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
