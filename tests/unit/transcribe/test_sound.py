# ruff: noqa: E402 - what is imported below may not be installed
"""Real recordings in real formats: written by the same FFmpeg that a phone or an editor would use."""

import io
import wave
from pathlib import Path

import pytest

from tests.speech import DASHWOOD, require

require("av", "numpy")

import av
import numpy as np

from vm_agent.jobs.transcribe.errors import (
    AudioError,
    BrokenAudio,
    EmptyAudio,
    NoAudioTrack,
    OverlongAudio,
    SilentAudio,
)
from vm_agent.jobs.transcribe.sound import SAMPLE_RATE, Sound, in_parts, read_first_second, read_sound


def a_wav(samples: np.ndarray) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype(np.int16).tobytes())
    return out.getvalue()


def encoded(container: str, codec: str, rate: int, layout: str = "mono", **options: str) -> bytes:
    out = io.BytesIO()
    with av.open(str(DASHWOOD)) as source, av.open(out, "w", format=container, options=options) as target:
        stream = target.add_stream(codec, rate=rate, layout=layout)
        for frame in source.decode(audio=0):
            frame.pts = None
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return out.getvalue()


def a_silent_film() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as target:
        stream = target.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        for _ in range(10):
            target.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        target.mux(stream.encode(None))
    return out.getvalue()


def read(content: bytes, seconds_max: float = 60) -> Sound:
    return read_sound(io.BytesIO(content), "talk", seconds_max=seconds_max)


def loudness(sound: Sound) -> np.ndarray:
    """Of each of the first fourteen halves of a second; encoders delay the sound by less than a tenth."""
    return np.square(sound.samples[: 7 * SAMPLE_RATE]).reshape(14, -1).mean(axis=1)


FORMATS = [
    ("mp3", "libmp3lame", 44_100, "stereo"),
    ("flac", "flac", 16_000, "mono"),
    ("ogg", "libopus", 48_000, "mono"),
    ("ipod", "aac", 44_100, "stereo"),
    ("webm", "libopus", 48_000, "stereo"),
    ("adts", "aac", 22_050, "mono"),
]


@pytest.mark.parametrize(("container", "codec", "rate", "layout"), FORMATS)
def test_every_format_sounds_like_the_original(container: str, codec: str, rate: int, layout: str) -> None:
    original, other = read(DASHWOOD.read_bytes()), read(encoded(container, codec, rate, layout))
    assert abs(other.seconds - original.seconds) < 0.15
    assert other.warnings == ()
    assert np.corrcoef(loudness(original), loudness(other))[0, 1] > 0.9


def test_a_film_is_heard_by_its_sound_track() -> None:
    out = io.BytesIO()
    with av.open(str(DASHWOOD)) as source, av.open(out, "w", format="mp4") as target:
        film = target.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        track = target.add_stream("aac", rate=16_000, layout="mono")
        target.mux(film.encode(av.VideoFrame(32, 32, "yuv420p")))
        for frame in source.decode(audio=0):
            frame.pts = None
            target.mux(track.encode(frame))
        target.mux([*film.encode(None), *track.encode(None)])
    assert abs(read(out.getvalue()).seconds - 7.1) < 0.1


def test_a_recording_that_changes_its_sample_rate_half_way_is_heard_to_the_end() -> None:
    both = encoded("adts", "aac", 16_000) + encoded("adts", "aac", 44_100, "stereo")
    assert abs(read(both).seconds - 14.2) < 0.3


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", EmptyAudio, "talk is empty: 0 bytes."),
        (a_wav(np.zeros(0)), EmptyAudio, "its audio track holds nothing"),
        (b"<html>Not found</html>" * 50, BrokenAudio, "talk is damaged, or not of a format that can be read"),
        (a_wav(np.zeros(SAMPLE_RATE)), SilentAudio, "talk is silent: 1.0 s without a sound."),
        (a_wav(np.full(SAMPLE_RATE, 0.0005)), SilentAudio, "Check how it was recorded"),
        (a_silent_film(), NoAudioTrack, "talk has no audio track."),
    ],
    ids=["no bytes", "no samples", "a web page", "zeros", "hiss below hearing", "film without sound"],
)
def test_a_file_without_speech_in_it_is_refused_with_the_reason(
    content: bytes, error: type[AudioError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(content)


def test_a_recording_longer_than_allowed_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(OverlongAudio, match=r"talk lasts 0:00:07; max_hours = 0.001 ends at 0:00:04. Raise max_hours"):
        read(DASHWOOD.read_bytes(), seconds_max=3.6)


def test_a_header_that_says_nothing_of_the_length_does_not_help_a_long_recording() -> None:
    as_streamed = encoded("webm", "libopus", 48_000, live="1")
    with pytest.raises(OverlongAudio, match="talk goes on and on"):
        read(as_streamed, seconds_max=3)


def test_a_recording_cut_off_by_a_failed_copy_is_read_as_far_as_it_goes_and_says_so() -> None:
    whole = encoded("flac", "flac", 16_000)
    sound = read(whole[: len(whole) // 2])
    assert 2 < sound.seconds < 5
    assert "it may have been cut off" in " ".join(sound.warnings)


def test_damage_in_the_middle_is_stepped_over_and_counted() -> None:
    whole = bytearray(encoded("mp3", "libmp3lame", 16_000))
    whole[8000:12000] = bytes(4000)
    sound = read(bytes(whole))
    assert sound.seconds > 4
    assert "words may be missing" in " ".join(sound.warnings)


def test_a_playlist_cannot_make_the_job_read_other_files(tmp_path: Path) -> None:
    playlist = tmp_path / "talk.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{DASHWOOD}\n#EXT-X-ENDLIST\n")
    with playlist.open("rb") as file, pytest.raises(BrokenAudio):
        read_sound(file, "talk.m3u8", seconds_max=60)


def test_a_rehearsal_hears_one_second_even_of_a_silent_start() -> None:
    second = read_first_second(io.BytesIO(a_wav(np.zeros(5 * SAMPLE_RATE))), "talk")
    assert second.seconds == 1.0


def test_a_long_recording_is_cut_in_its_pauses_and_nothing_is_lost() -> None:
    loud, pause = np.random.default_rng(1).uniform(-1, 1, 7 * SAMPLE_RATE), np.zeros(SAMPLE_RATE)
    samples = np.concatenate([loud, pause] * 12).astype(np.float32)
    parts = list(in_parts(samples, seconds=40))
    assert np.array_equal(np.concatenate([part for _, part in parts]), samples)
    assert all(len(part) <= 40 * SAMPLE_RATE for _, part in parts)
    assert [start % 8 > 7 or start == 0 for start, _ in parts] == [True] * len(parts)
    assert len(parts) > 2


def test_a_short_recording_is_one_part() -> None:
    assert [start for start, _ in in_parts(np.zeros(100, np.float32), seconds=1)] == [0]
