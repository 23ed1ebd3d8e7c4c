"""Cloud Storage as its JSON API answers, from a server on this machine with its own metadata server."""

import base64
import hashlib
import io
import json
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.speech import require
from vm_agent.jobs.transcribe.bucket import bucket_and_name, download_checked, download_object, objects_in
from vm_agent.jobs.transcribe.errors import NoSuchModel, Unreachable

TOKEN = "ya29.of-the-vm"


class Bucket:
    """Objects of the bucket `models`, two to a page of a listing; the token is asked for when `private`."""

    def __init__(self, web, page) -> None:
        self._web, self._page = web, page
        self.objects: dict[str, bytes] = {}
        self.generation = "1"
        web.pages["/storage/v1/b/models/o"] = self._list
        web.pages["/computeMetadata/v1/instance/service-accounts/default/token"] = page(
            json.dumps({"access_token": TOKEN, "expires_in": 3000, "token_type": "Bearer"}).encode()
        )

    def put(self, name: str, content: bytes) -> None:
        self.objects[name] = content
        self._web.pages[f"/storage/v1/b/models/o/{quote(name, safe='')}"] = self._page(content)

    def authorizations(self) -> set[str | None]:
        return {headers.get("Authorization") for path, headers in self._web.asked if path.startswith("/storage")}

    def _list(self, path: str):
        query = parse_qs(urlsplit(path).query)
        names = sorted(name for name in self.objects if name.startswith(query["prefix"][0]))
        begin = int(query.get("pageToken", ["0"])[0])
        answer = {"items": [self._item(name) for name in names[begin : begin + 2]]}
        if begin + 2 < len(names):
            answer["nextPageToken"] = str(begin + 2)
        return self._page(json.dumps(answer).encode())

    def _item(self, name: str) -> dict[str, str]:
        content = self.objects[name]
        digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        return {"name": name, "size": str(len(content)), "generation": self.generation, "md5Hash": digest}


@pytest.fixture
def bucket(web, page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", web.origin)
    monkeypatch.setenv("GCE_METADATA_HOST", web.origin.removeprefix("http://"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Bucket(web, page)
    for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.json"):
        made.put(f"tiny/{name}", f"the {name}".encode())
    return made


def fetched(url: str) -> Path:
    require("faster_whisper")
    from vm_agent.jobs.transcribe.models import model_folder  # noqa: PLC0415 - the extra may be missing

    return model_folder(url, lambda _: None)


def test_a_recording_is_read_with_the_vms_own_token(bucket: Bucket) -> None:
    bucket.put("talks/a talk?.mp3", b"sound")
    into = io.BytesIO()
    assert download_object("gs://models/talks/a talk?.mp3", into, bytes_max=10) == 5
    assert (into.getvalue(), bucket.authorizations()) == (b"sound", {f"Bearer {TOKEN}"})


def test_without_a_metadata_server_a_public_bucket_is_still_read(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    assert len(objects_in("gs://models/tiny")) == 4
    assert bucket.authorizations() == {None}


def test_the_token_is_not_carried_to_where_a_redirect_leads(bucket: Bucket, web, page) -> None:
    web.pages["/storage/v1/b/models/o/moved"] = page(status=302, headers={"Location": "/elsewhere"})
    web.pages["/elsewhere"] = page(b"sound")
    download_object("gs://models/moved", io.BytesIO(), bytes_max=10)
    path, headers = web.asked[-1]
    assert path == "/elsewhere"
    assert "Authorization" not in headers


def test_a_model_is_fetched_whole_and_only_once(bucket: Bucket, web) -> None:
    folder = fetched("gs://models/tiny/")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: f"the {name}" for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.json")
    }
    web.asked.clear()
    assert fetched("gs://models/tiny") == folder
    assert not [path for path, _ in web.asked if "alt=media" in path]


def test_a_model_that_was_replaced_in_the_bucket_is_fetched_again(bucket: Bucket) -> None:
    first = fetched("gs://models/tiny")
    bucket.generation = "2"
    assert fetched("gs://models/tiny") != first


def test_a_model_that_arrives_damaged_is_not_kept(bucket: Bucket, web, page, tmp_path: Path) -> None:
    web.pages["/storage/v1/b/models/o/tiny%2Fmodel.bin"] = page(b"THE model.bin")
    with pytest.raises(Unreachable, match=r"gs://models/tiny/model.bin arrived damaged. Try again."):
        fetched("gs://models/tiny")
    assert list((tmp_path / "cache" / "mayfly" / "models").iterdir()) == []


def test_an_object_larger_than_its_listing_is_damaged_too(bucket: Bucket, web, page, tmp_path: Path) -> None:
    listed = objects_in("gs://models/tiny")[0]
    web.pages["/storage/v1/b/models/o/tiny%2Fconfig.json"] = page(b"much longer than it was")
    with pytest.raises(Unreachable, match="arrived damaged"):
        download_checked(listed, tmp_path / "config.json")


def test_an_empty_folder_is_no_model(bucket: Bucket) -> None:
    with pytest.raises(NoSuchModel, match=r"There is nothing in gs://models/huge. Name the folder that holds"):
        fetched("gs://models/huge")


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    with pytest.raises(Unreachable, match=r"gs://modles/tiny answered 404"):
        objects_in("gs://modles/tiny")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("gs://b/a/c/", ("b", "a/c")),
        ("gs://b", ("b", "")),
        ("gs://b/what?.mp3", ("b", "what?.mp3")),
        ("gs://b/no#1.mp3", ("b", "no#1.mp3")),
    ],
)
def test_an_object_may_have_any_name(url: str, parts: tuple[str, str]) -> None:
    assert bucket_and_name(url) == parts
