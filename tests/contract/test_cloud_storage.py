"""google-cloud-storage, Google's own library, against the emulated buckets and objects."""

import base64
import hashlib
import io
import json

import google.api_core.exceptions as google_errors
import httpx
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.contract.world import PROJECT, Running

BUCKET = "state-of-things"


@pytest.fixture
def client(emulator: Running, monkeypatch: pytest.MonkeyPatch) -> storage.Client:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
    return storage.Client(project=PROJECT, credentials=AnonymousCredentials())


@pytest.fixture
def bucket(client: storage.Client) -> storage.Bucket:
    return client.create_bucket(BUCKET)


def test_an_object_is_written_read_and_deleted(bucket: storage.Bucket) -> None:
    blob = bucket.blob("prefix/leases/gpu vm:1 100%.json")
    blob.upload_from_string(b'{"epoch": 1}\r\n--x', content_type="application/json")
    assert blob.download_as_bytes() == b'{"epoch": 1}\r\n--x'
    seen = bucket.get_blob(blob.name)
    assert seen is not None
    assert (seen.size, seen.content_type, seen.metageneration) == (17, "application/json", 1)
    assert (seen.generation, seen.crc32c) == (blob.generation, blob.crc32c)
    blob.delete()
    assert bucket.get_blob(blob.name) is None
    with pytest.raises(google_errors.NotFound, match="No such object"):
        blob.download_as_bytes()


def test_a_bucket_that_is_not_there_is_not_found(client: storage.Client) -> None:
    with pytest.raises(google_errors.NotFound, match="The specified bucket does not exist"):
        client.get_bucket("nobody-has-this")
    with pytest.raises(google_errors.NotFound):
        client.bucket("nobody-has-this").blob("x").upload_from_string("x")


def test_of_two_writers_who_saw_nothing_one_writes(bucket: storage.Bucket) -> None:
    bucket.blob("lease").upload_from_string("first", if_generation_match=0)
    with pytest.raises(google_errors.PreconditionFailed, match="pre-conditions") as caught:
        bucket.blob("lease").upload_from_string("second", if_generation_match=0)
    assert caught.value.code == 412
    assert bucket.blob("lease").download_as_bytes() == b"first"


def test_an_object_is_changed_by_compare_and_swap(bucket: storage.Bucket) -> None:
    blob = bucket.blob("lease")
    blob.upload_from_string("first")
    before = blob.generation
    blob.upload_from_string("second", if_generation_match=before)
    assert blob.generation > before
    for stale in (before, 0):
        with pytest.raises(google_errors.PreconditionFailed):
            blob.upload_from_string("third", if_generation_match=stale)
    with pytest.raises(google_errors.PreconditionFailed):
        blob.delete(if_generation_match=before)
    assert blob.download_as_bytes() == b"second"
    with pytest.raises(google_errors.PreconditionFailed):
        bucket.blob("nobody").upload_from_string("x", if_generation_match=before)


def test_a_generation_never_comes_back(bucket: storage.Bucket) -> None:
    generations = []
    for _ in range(3):
        blob = bucket.blob("lease")
        blob.upload_from_string("the same")
        generations.append(blob.generation)
        blob.delete()
    assert generations == sorted(set(generations))


def test_properties_change_without_a_new_generation(bucket: storage.Bucket) -> None:
    blob = bucket.blob("report.html")
    blob.upload_from_string("<p>", content_type="text/plain")
    before = blob.generation
    blob.metadata, blob.content_type = {"run": "k"}, "text/html"
    blob.patch()
    seen = bucket.get_blob("report.html")
    assert seen is not None
    assert (seen.generation, seen.metageneration) == (before, 2)
    assert (seen.metadata, seen.content_type) == ({"run": "k"}, "text/html")
    with pytest.raises(google_errors.PreconditionFailed):
        blob.patch(if_metageneration_match=1)


def test_objects_are_listed_by_prefix_in_pages_and_as_folders(client: storage.Client, bucket: storage.Bucket) -> None:
    names = ["a", "run/1/log", "run/1/out.txt", "run/2/log", "z"]
    for name in reversed(names):
        bucket.blob(name).upload_from_string("x")
    assert [blob.name for blob in client.list_blobs(BUCKET, page_size=2)] == names
    assert [blob.name for blob in client.list_blobs(BUCKET, prefix="run/1/")] == names[1:3]
    folders = client.list_blobs(BUCKET, prefix="run/", delimiter="/", page_size=1)
    assert [blob.name for blob in folders] == []
    assert folders.prefixes == {"run/1/", "run/2/"}
    assert BUCKET in [each.name for each in client.list_buckets()]


def test_a_part_of_an_object_can_be_read(bucket: storage.Bucket) -> None:
    blob = bucket.blob("log")
    blob.upload_from_string("0123456789")
    assert blob.download_as_bytes(start=2, end=4, raw_download=True, checksum=None) == b"234"
    assert blob.download_as_bytes(start=8, raw_download=True, checksum=None) == b"89"
    with pytest.raises(google_errors.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)


@pytest.mark.parametrize("newline", ["\r\n", "\n"])  # Google's libraries, gcloud
def test_content_that_came_damaged_is_refused(bucket: storage.Bucket, emulator: Running, newline: str) -> None:
    def upload(content: bytes) -> httpx.Response:
        properties = {
            "name": "log",
            "md5Hash": base64.b64encode(hashlib.md5(b"as sent", usedforsecurity=False).digest()).decode(),
        }
        head = ["--parts", "content-type: application/json", "", json.dumps(properties)]
        head += ["--parts", "content-type: text/plain", "", ""]
        body = newline.join(head).encode() + content + f"{newline}--parts--".encode()
        headers = {"content-type": "multipart/related; boundary=parts"}
        url = f"{emulator.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart"
        return httpx.post(url, content=body, headers=headers)

    damaged = upload(b"as it came")
    assert (damaged.status_code, "doesn't match" in damaged.json()["error"]["message"]) == (400, True)
    assert not bucket.blob("log").exists()
    assert upload(b"as sent").json()["contentType"] == "text/plain"
    assert bucket.blob("log").download_as_bytes() == b"as sent"


def test_a_field_that_cloud_storage_does_not_have_is_refused(bucket: storage.Bucket, emulator: Running) -> None:
    refused = httpx.patch(f"{emulator.url}/storage/v1/b/{BUCKET}/o/x", json={"colour": "blue"})
    assert (refused.status_code, refused.json()["error"]["errors"][0]["reason"]) == (400, "badRequest")


def test_a_large_object_comes_in_several_requests(bucket: storage.Bucket, emulator: Running) -> None:
    content = bytes(range(256)) * 3000 + b"and a rest"
    blob = bucket.blob("artifacts/model.bin", chunk_size=256 * 1024)
    blob.upload_from_file(io.BytesIO(content), content_type="model/x", if_generation_match=0, rewind=True)
    assert emulator.verbs().count("objects.insert") == 4
    seen = bucket.get_blob("artifacts/model.bin")
    assert seen is not None
    assert (seen.size, seen.content_type, seen.download_as_bytes() == content) == (len(content), "model/x", True)
    with pytest.raises(google_errors.PreconditionFailed):
        blob.upload_from_file(io.BytesIO(content), if_generation_match=0, rewind=True)


def test_an_upload_goes_on_where_it_broke_off_and_conditions_hold_at_its_end(
    bucket: storage.Bucket, emulator: Running
) -> None:
    begin = f"{emulator.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=big&ifGenerationMatch=0"
    place = httpx.post(begin, json={"contentType": "text/plain"}).headers["location"]

    def send(said: str, content: bytes = b"") -> tuple[int, str | None]:
        reply = httpx.put(place, content=content, headers={"content-range": said})
        return reply.status_code, reply.headers.get("range")

    assert send("bytes */10") == (308, None)
    assert send("bytes 0-3/10", b"0123") == (308, "bytes=0-3")
    assert send("bytes 7-9/10", b"789")[0] == 400
    bucket.blob("big").upload_from_string("somebody else was quicker")
    assert send("bytes 4-9/10", b"456789")[0] == 412
    assert send("bytes */10")[0] == 404
    assert bucket.blob("big").download_as_bytes() == b"somebody else was quicker"


def test_a_bucket_is_made_once_and_deleted_when_it_is_empty(client: storage.Client, bucket: storage.Bucket) -> None:
    with pytest.raises(google_errors.Conflict):
        client.create_bucket(BUCKET)
    bucket.blob("x").upload_from_string("x")
    with pytest.raises(google_errors.Conflict, match="not empty"):
        bucket.delete()
    bucket.blob("x").delete()
    bucket.delete()
    assert not client.bucket(BUCKET).exists()


def test_a_fault_on_purpose_has_the_form_of_cloud_storage(bucket: storage.Bucket, emulator: Running) -> None:
    emulator.fault(on="objects.insert", reply={"status": 503})
    with pytest.raises(google_errors.ServiceUnavailable):
        bucket.blob("x").upload_from_string("x", retry=None)


def test_contents_are_never_in_the_history(bucket: storage.Bucket, emulator: Running) -> None:
    bucket.blob("x").upload_from_string("correct horse")
    assert "objects.insert" in emulator.verbs()
    assert "correct horse" not in str(emulator.ask("history"))
