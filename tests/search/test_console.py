"""The search console: who may do what, and that it does what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from search import milvus
from search.generations import activate, complete_builds, start_build
from search.indexing import index_due_photos
from search.models import IndexRun, PhotoIndexing, SearchIndex
from tests.tiny_clip import save_tiny_clip

Add = Callable[[User, int], Photo]
PAGE = "/admin/search/console/"


@pytest.fixture
def other_clip(tmp_path: Path) -> str:
    return str(save_tiny_clip(tmp_path / "other", seed=1, dimension=48))


@pytest.fixture
def build(index: SearchIndex, other_clip: str) -> SearchIndex:
    return start_build(other_clip)


@pytest.fixture
def retired(build: SearchIndex) -> SearchIndex:
    """The generation that was active before the build was finished and activated."""
    finish(build)
    activate(build)
    return SearchIndex.objects.get(status=SearchIndex.Status.RETIRED)


def finish(build: SearchIndex) -> None:
    while index_due_photos():
        pass
    complete_builds()
    build.refresh_from_db()


def staff(*permissions: str) -> Client:
    """Signed in as a new administrator who has these permissions on the search index."""
    name = f"admin{User.objects.count()}"
    user = User.objects.create_user(name, f"{name}@example.com", "correct horse", is_staff=True)
    codenames = [f"{permission}_searchindex" for permission in permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def post(client: Client, path: str, **data: str) -> str:
    """POST to a path under the console, and return the page that follows."""
    response = client.post(f"{PAGE}{path}", data, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def logged() -> list[str]:
    return list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True))


def status_of(index: SearchIndex) -> str:
    return SearchIndex.objects.values_list("status", flat=True).get(pk=index.pk)


# Who may


def test_the_page_is_for_those_who_may_see_the_index(index: SearchIndex, ann: User) -> None:
    assert staff().get(PAGE).status_code == 403
    assert staff("change").get(PAGE).status_code == 403
    assert staff("view").get(PAGE).status_code == 200
    client = Client()
    assert client.get(PAGE).status_code == 302
    client.force_login(ann)
    assert client.get(PAGE).status_code == 302


@pytest.mark.parametrize("name", ["generations", "services", "runs"])
def test_so_are_its_sections(index: SearchIndex, name: str) -> None:
    path = f"{PAGE}sections/{name}/"
    assert staff().get(path).status_code == 403
    response = staff("view").get(path)
    assert response.status_code == 200
    assert "<html" not in response.content.decode()
    assert "csrfmiddlewaretoken" not in response.content.decode()
    assert staff("view").get(f"{PAGE}sections/other/").status_code == 404


NEEDED = {
    "build/": "add",
    "reindex/": "change",
    "verify/": "change",
    "refill/": "change",
    "generations/{index}/pause/": "change",
    "generations/{index}/resume/": "change",
    "generations/{index}/activate/": "change",
    "generations/{index}/roll-back/": "change",
    "generations/{index}/retry-failed/": "change",
    "generations/{index}/cancel/": "delete",
    "generations/{index}/drop/": "delete",
    "runs/{run}/interrupt/": "change",
    "runs/{run}/go-on/": "change",
}


@pytest.mark.parametrize(("path", "needed"), NEEDED.items())
def test_each_action_needs_its_permission(index: SearchIndex, path: str, needed: str) -> None:
    run = IndexRun.objects.create(index=index, kind="verify")
    path = PAGE + path.format(index=index.pk, run=run.pk)
    others = {"add", "change", "delete"} - {needed}
    assert staff("view", *others).post(path, {}).status_code == 403
    assert staff(needed).post(path, {}).status_code == 403
    assert LogEntry.objects.count() == 0
    assert staff("view", needed).post(path, {}).status_code in {200, 302}


def test_buttons_are_for_those_who_may_press_them(build: SearchIndex, index: SearchIndex) -> None:
    IndexRun.objects.create(index=index, kind="verify")
    buttons = {
        "add": {"build"},
        "change": {"activate", "pause", "verify", "reindex", "refill", "interrupt"},
        "delete": {"cancel"},
    }
    for permission, shown in buttons.items():
        page = staff("view", permission).get(PAGE).content.decode()
        for name in set().union(*buttons.values()):
            assert (f'data-testid="{name}"' in page) == (name in shown), (permission, name)


# What is shown


def test_it_is_linked_where_an_administrator_looks(
    admin_client: Client, index: SearchIndex
) -> None:
    for name in ("admin:index", "admin:search_searchindex_changelist"):
        assert f'href="{PAGE}"' in admin_client.get(reverse(name)).content.decode()
    assert PAGE not in staff().get(reverse("admin:index")).content.decode()


def test_the_page_tells_how_the_encoder_was_chosen(
    admin_client: Client, index: SearchIndex
) -> None:
    assert "is used, as configured." in admin_client.get(PAGE).content.decode()


def test_the_page_without_an_index(admin_client: Client) -> None:
    assert "There is no index yet" in admin_client.get(PAGE).content.decode()


def test_the_page_while_milvus_is_down(
    admin_client: Client, index: SearchIndex, settings: Settings
) -> None:
    settings.MILVUS_URI = "http://127.0.0.1:9"
    milvus.disconnect()
    try:
        response = admin_client.get(PAGE)
        refused = post(admin_client, "build/", **{"build-encoder": "starter"})
    finally:
        milvus.disconnect()
    assert response.status_code == 200
    assert "Trouble" in response.content.decode()
    assert "Milvus can&#x27;t be reached" in refused
    assert not SearchIndex.objects.building().exists()


def test_nothing_inline_that_the_policy_forbids(admin_client: Client, build: SearchIndex) -> None:
    response = admin_client.get(PAGE)
    page = response.content.decode()
    assert "unsafe-inline" not in response.headers["Content-Security-Policy"]
    assert " style=" not in page
    assert "<style" not in page
    assert "<script>" not in page


def test_a_failed_runs_traceback_is_there(admin_client: Client, index: SearchIndex) -> None:
    IndexRun.objects.create(
        index=index, kind="verify", state="failed", error="ValueError: <b>", traceback="line 3"
    )
    page = admin_client.get(PAGE).content.decode()
    assert "ValueError: &lt;b&gt;" in page
    assert '<pre tabindex="0">line 3</pre>' in page


# What is done


def test_building(admin_client: Client, index: SearchIndex, other_clip: str) -> None:
    page = post(admin_client, "build/", **{"build-encoder": other_clip})
    built = SearchIndex.objects.building().get()
    assert (built.encoder, built.dimension) == (other_clip, 48)
    assert built.reason == "It was asked for by admin."
    assert IndexRun.objects.get(index=built).started_by == User.objects.get(username="admin")
    assert logged() == [f"The build of “{other_clip}” has begun."]
    assert "has begun" in page
    assert "It was asked for by admin." in page


@pytest.mark.parametrize(
    ("encoder", "sentence"),
    [
        ("", "This field is required."),
        ("/nowhere/at/all", "There is no folder “/nowhere/at/all”."),
        ("some one/clip", "is neither a folder nor the name of a model"),
    ],
)
def test_an_encoder_that_cannot_be_had_is_an_error_of_the_form(
    admin_client: Client, index: SearchIndex, encoder: str, sentence: str
) -> None:
    assert sentence in post(admin_client, "build/", **{"build-encoder": encoder})
    assert not SearchIndex.objects.building().exists()
    assert logged() == []


def test_one_build_at_a_time(admin_client: Client, build: SearchIndex) -> None:
    page = post(admin_client, "build/", **{"build-encoder": "starter"})
    assert "is being built: activate or cancel it first." in page
    assert SearchIndex.objects.building().get() == build


def test_pausing_and_going_on(admin_client: Client, build: SearchIndex) -> None:
    post(admin_client, f"generations/{build.pk}/pause/")
    paused = SearchIndex.objects.filter(pk=build.pk, paused_at__isnull=False)
    assert paused.exists()
    post(admin_client, f"generations/{build.pk}/resume/")
    assert not paused.exists()
    assert logged() == [
        f"The build of “{build.encoder}” is paused.",
        f"The build of “{build.encoder}” goes on.",
    ]
    entry = LogEntry.objects.first()
    assert entry is not None
    assert entry.get_edited_object() == build


def test_what_is_not_possible_is_said(admin_client: Client, index: SearchIndex) -> None:
    page = post(admin_client, f"generations/{index.pk}/pause/")
    assert "Only a generation that is being built can be paused." in page
    assert logged() == []


@pytest.mark.parametrize("name", ["activate", "cancel"])
def test_a_question_comes_first(admin_client: Client, build: SearchIndex, name: str) -> None:
    path = f"{PAGE}generations/{build.pk}/{name}/"
    page = admin_client.get(path).content.decode()
    dialog = admin_client.get(path, headers={"HX-Request": "true"}).content.decode()
    unasked = admin_client.post(path).content.decode()
    assert '<html lang="' in page
    assert "<html" not in dialog
    for answer in (page, dialog, unasked):
        assert 'name="lost"' in answer
    assert status_of(build) == "building"
    assert logged() == []


def test_activating(admin_client: Client, build: SearchIndex, index: SearchIndex) -> None:
    finish(build)
    post(admin_client, f"generations/{build.pk}/activate/", lost="0")
    assert (status_of(build), status_of(index)) == ("active", "retired")
    assert logged() == [f"Searches use “{build.encoder}” now."]
    run = IndexRun.objects.get(kind="activate")
    assert run.started_by == User.objects.get(username="admin")


def test_activating_too_early_says_what_it_costs(
    admin_client: Client, ann: User, add: Add, index: SearchIndex, other_clip: str
) -> None:
    add(ann, 1)
    add(ann, 2)
    build = start_build(other_clip)
    path = f"generations/{build.pk}/activate/"
    page = admin_client.get(PAGE + path).content.decode()
    assert "2 photos that people can find now are not in" in page
    assert 'name="lost" value="2"' in page

    # Who was told of one only is asked again.
    assert "2 photos that people can find now" in post(admin_client, path, lost="1")
    assert status_of(index) == "active"

    post(admin_client, path, lost="2")
    assert status_of(build) == "active"


def test_rolling_back(admin_client: Client, retired: SearchIndex, build: SearchIndex) -> None:
    path = f"generations/{retired.pk}/roll-back/"
    assert "No photo was added since." in admin_client.get(PAGE + path).content.decode()
    post(admin_client, path, lost="0")
    assert (status_of(retired), status_of(build)) == ("active", "retired")
    assert logged() == [f"Rolled back: searches use “{retired.encoder}” again."]


def test_rolling_back_says_what_was_added_since(
    admin_client: Client, ann: User, retired: SearchIndex, build: SearchIndex, tiny_clip: Path
) -> None:
    assert retired.encoder == str(tiny_clip)
    photo = Photo.objects.create(
        owner=ann,
        sha256="0",
        filename="a.jpg",
        size_bytes=1,
        width=1,
        height=1,
        state="ready",
        thumbnail="a",
        preview="b",
    )
    PhotoIndexing.objects.create(photo=photo, index=build, state="done", indexed_at=timezone.now())
    page = admin_client.get(f"{PAGE}generations/{retired.pk}/roll-back/").content.decode()
    assert "1 photo was added since" in page


def test_cancelling(admin_client: Client, build: SearchIndex) -> None:
    post(admin_client, f"generations/{build.pk}/cancel/", lost="0")
    build.refresh_from_db()
    assert (build.status, build.error) == ("failed", "Cancelled by admin.")
    assert logged() == [f"The build of “{build.encoder}” is cancelled."]


def test_dropping(admin_client: Client, retired: SearchIndex) -> None:
    path = f"generations/{retired.pk}/drop/"
    assert "removed for good" in admin_client.get(PAGE + path).content.decode()
    post(admin_client, path, lost="0")
    retired.refresh_from_db()
    assert retired.dropped_at is not None
    assert IndexRun.objects.get(kind="drop").started_by == User.objects.get(username="admin")
    assert logged() == [f"The vectors of “{retired.encoder}” are being removed."]


def test_retrying_what_failed(
    admin_client: Client, ann: User, add: Add, index: SearchIndex
) -> None:
    add(ann, 1)
    PhotoIndexing.objects.update(state="failed", error="It failed.")
    assert 'data-testid="retry-failed"' in admin_client.get(PAGE).content.decode()
    post(admin_client, f"generations/{index.pk}/retry-failed/")
    assert IndexRun.objects.get().options == {"scope": "failed"}
    assert logged() == [f"The photos that failed in “{index.encoder}” are tried again."]


@pytest.mark.parametrize(
    ("scope", "kind", "options"),
    [
        ("all", "reindex", {"scope": "all"}),
        ("failed", "reindex", {"scope": "failed"}),
        ("missing", "verify", {"repair": True, "only": ["missing"]}),
    ],
)
@pytest.mark.parametrize("of_one", [False, True])
def test_reindexing(
    admin_client: Client,
    ann: User,
    index: SearchIndex,
    scope: str,
    kind: str,
    options: dict[str, object],
    of_one: bool,
) -> None:
    data = {"reindex-index": str(index.pk), "reindex-scope": scope}
    post(admin_client, "reindex/", **data, **({"reindex-owner": "Ann"} if of_one else {}))
    run = IndexRun.objects.get()
    assert (run.kind, run.options, run.owner) == (kind, options, ann if of_one else None)
    assert run.started_by == User.objects.get(username="admin")
    assert len(logged()) == 1
    assert ("of ann" in logged()[0]) == of_one


def test_an_unknown_person_is_an_error_of_the_form(
    admin_client: Client, index: SearchIndex
) -> None:
    data = {"verify-index": str(index.pk), "verify-owner": "nobody"}
    assert "There is no user of this name." in post(admin_client, "verify/", **data)
    assert not IndexRun.objects.exists()


@pytest.mark.parametrize("repair", [False, True])
def test_verifying(admin_client: Client, index: SearchIndex, repair: bool) -> None:
    data = {"verify-index": str(index.pk)} | ({"verify-repair": "on"} if repair else {})
    post(admin_client, "verify/", **data)
    run = IndexRun.objects.get()
    assert (run.kind, run.options) == ("verify", {"repair": True} if repair else {})
    assert "Verify" in logged()[0]


def test_refilling_a_lost_collection(
    admin_client: Client, ann: User, add: Add, index: SearchIndex
) -> None:
    add(ann, 1)
    milvus.drop_collection(index.collection_name)
    post(admin_client, "refill/", **{"refill-index": str(index.pk)})
    index.refresh_from_db()
    assert index.refilled_to == 0
    assert milvus.has_collection(index.collection_name)
    run = IndexRun.objects.get()
    assert (run.kind, run.started_by) == ("refill", User.objects.get(username="admin"))


def test_interrupting_a_run_and_going_on(admin_client: Client, index: SearchIndex) -> None:
    run = IndexRun.objects.create(index=index, kind="verify", position=7)
    post(admin_client, f"runs/{run.pk}/interrupt/")
    run.refresh_from_db()
    assert run.state == "interrupted"
    post(admin_client, f"runs/{run.pk}/go-on/")
    run.refresh_from_db()
    assert (run.state, run.position, run.finished_at) == ("running", 7, None)
    assert len(logged()) == 2


def test_retrying_a_failed_run(admin_client: Client, index: SearchIndex) -> None:
    run = IndexRun.objects.create(
        index=index, kind="verify", state="failed", error="No.", traceback="line", attempts=4
    )
    assert 'data-testid="go-on"' in admin_client.get(PAGE).content.decode()
    post(admin_client, f"runs/{run.pk}/go-on/")
    run.refresh_from_db()
    assert (run.state, run.error, run.attempts) == ("running", "", 0)


def test_a_run_that_is_done_already_is_not_repeated(
    admin_client: Client, index: SearchIndex
) -> None:
    failed = IndexRun.objects.create(index=index, kind="verify", state="failed")
    IndexRun.objects.create(index=index, kind="verify", state="running")
    page = post(admin_client, f"runs/{failed.pk}/go-on/")
    assert "moved on meanwhile" in page
    failed.refresh_from_db()
    assert failed.state == "failed"
    assert logged() == []


# The other lists


@pytest.mark.parametrize("name", ["searchindex", "photoindexing", "indexrun", "workerheartbeat"])
def test_the_lists_can_be_read_and_not_written(
    admin_client: Client, ann: User, add: Add, index: SearchIndex, name: str
) -> None:
    add(ann, 1)
    IndexRun.objects.create(index=index, kind="verify", findings={"photos": 1})
    assert admin_client.get(reverse(f"admin:search_{name}_changelist")).status_code == 200
    assert admin_client.get(reverse(f"admin:search_{name}_add")).status_code == 403


@pytest.mark.parametrize(("action", "enqueued"), [("reindex", 2), ("retry_failed", 1)])
def test_a_selection_is_embedded_again(
    admin_client: Client, ann: User, add: Add, index: SearchIndex, action: str, enqueued: int
) -> None:
    for number in range(2):
        add(ann, number)
    rows = list(PhotoIndexing.objects.order_by("pk"))
    PhotoIndexing.objects.filter(pk=rows[0].pk).update(state="failed", error="No.")
    url = reverse("admin:search_photoindexing_changelist")
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows]}

    reader = staff()
    user = User.objects.get(username__startswith="admin", is_superuser=False)
    user.user_permissions.add(Permission.objects.get(codename="view_photoindexing"))
    reader.post(url, data)
    assert not PhotoIndexing.objects.filter(state="pending").exists()

    admin_client.post(url, data)
    assert PhotoIndexing.objects.filter(state="pending").count() == enqueued
    assert len(logged()) == 1
