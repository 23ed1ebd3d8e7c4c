import os
from pathlib import Path

import pytest

from vm_agent.jobs.transcribe.errors import BadParams, NoSuchAudio, OverlongAudio, TranscriptionError, Unreachable
from vm_agent.jobs.transcribe.source import opened, shown_name, stem_of


def read(audio: str, megabytes: float = 1) -> bytes:
    with opened(audio, megabytes_max=megabytes) as file:
        return file.read()


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a talk [1].wav"
    path.write_bytes(b"sound")
    return path


def test_a_path_is_read_whether_whole_relative_or_as_a_file_url(talk: Path) -> None:
    assert {read(str(talk)), read(talk.name), read(talk.as_uri()), read("file:a%20talk%20[1].wav")} == {b"sound"}


def test_a_missing_file_is_named_with_the_place_where_it_was_looked_for(tmp_path: Path, talk: Path) -> None:
    with pytest.raises(NoSuchAudio, match=f"no file {tmp_path}/talk.wav. A relative path starts at the app folder"):
        read("talk.wav")
    with pytest.raises(NoSuchAudio, match="is a folder"):
        read(str(tmp_path))


def test_addresses_of_other_kinds_are_refused() -> None:
    with pytest.raises(BadParams, match="cannot be a ftp: URL"):
        read("ftp://example.org/talk.mp3")


def test_a_url_is_downloaded_and_can_be_read_from_any_place(web, page) -> None:
    web.pages["/a%20talk.mp3"] = page(b"sound")
    with opened(f"{web.origin}/a talk.mp3", megabytes_max=1) as file:
        file.seek(3)
        assert file.read() == b"nd"


def test_a_redirect_is_followed(web, page) -> None:
    web.pages["/old.mp3"] = page(status=302, headers={"Location": "/new.mp3"})
    web.pages["/new.mp3"] = page(b"sound")
    assert read(f"{web.origin}/old.mp3") == b"sound"


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "Check the address"), (403, "give a signed URL"), (503, "Try again later"), (520, "Try again later")],
)
def test_a_refusal_is_told_with_its_status_and_what_to_do(web, page, status: int, message: str) -> None:
    web.pages["/talk.mp3"] = page(status=status)
    with pytest.raises(Unreachable, match=rf"/talk.mp3 answered {status} .*{message}"):
        read(f"{web.origin}/talk.mp3")


def test_a_signature_in_the_query_is_never_printed(web) -> None:
    signed = f"{web.origin.replace('//', '//user:pass@')}/talk.mp3?X-Goog-Signature=secret"
    with pytest.raises(TranscriptionError) as failed:
        read(signed)
    assert "secret" not in str(failed.value) + shown_name(signed)
    assert "pass" not in str(failed.value) + shown_name(signed)


def test_a_download_over_the_limit_is_not_even_begun(web, page) -> None:
    web.pages["/talk.mp3"] = page(b"", length=1_000_001)
    with pytest.raises(OverlongAudio, match=r"larger than 1 MB. Raise max_megabytes"):
        read(f"{web.origin}/talk.mp3")


def test_a_download_of_unknown_length_is_cut_at_the_limit(web, page) -> None:
    web.pages["/talk.mp3"] = page(b"x" * 1_500_000)
    with pytest.raises(OverlongAudio):
        read(f"{web.origin}/talk.mp3")


def test_a_download_that_ends_early_is_not_taken_for_the_recording(web, page) -> None:
    web.pages["/talk.mp3"] = page(b"half", length=8)
    with pytest.raises(Unreachable, match="ended after 4 of 8 bytes"):
        read(f"{web.origin}/talk.mp3")


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"Cannot download http://127.0.0.1:1/talk.mp3: .*refused"):
        read("http://127.0.0.1:1/talk.mp3")


def test_a_download_leaves_no_file_behind(web, page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    web.pages["/talk.mp3"] = page(b"sound")
    with opened(f"{web.origin}/talk.mp3", megabytes_max=1) as file:
        assert os.fstat(file.fileno()).st_size == 5
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("audio", "stem"),
    [
        ("talks/monday.final.mp3", "monday.final"),
        ("https://example.org/a%20b/Gr%C3%BC%C3%9Fe.wav?token=x#t=3", "Grüße"),
        ("gs://bucket/folder/talk.flac", "talk"),
        ("https://example.org/", "audio"),
        ("https://example.org/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("..", "audio"),
        (".hidden.wav", "hidden"),
        ("a/b\x00c\nd.wav", "b_c_d"),
        ("ü" * 300 + ".wav", "ü" * 100),
    ],
)
def test_the_files_are_called_like_the_recording_and_never_leave_their_folder(audio: str, stem: str) -> None:
    assert stem_of(audio) == stem
