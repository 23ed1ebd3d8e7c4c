"""From a file to what Whisper hears: 16 kHz, one channel, samples in -1..1."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from numpy.typing import NDArray

from vm_agent.jobs.transcribe.errors import BrokenAudio, EmptyAudio, NoAudioTrack, OverlongAudio, SilentAudio

SAMPLE_RATE = 16_000
SILENCE_PEAK = 0.001  # -60 dB: below what a microphone in a quiet room picks up
SLACK_SECONDS = 2  # by which the length in a header may be wrong without anything missing
PART_SECONDS = 900  # Whisper's features take 3.6 GB of memory for an hour of sound when made in one piece
LOOK_BACK_SECONDS = 30  # there is nearly always a pause in half a minute
FULL_SCALE = np.float32(32_768)
Samples = NDArray[np.float32]
# FFmpeg's playlist formats (hls, concat, dash) open further files and addresses that the playlist names: never those.
FORMATS = "wav,mp3,flac,ogg,mov,mp4,m4a,matroska,webm,aac,ac3,amr,aiff,asf,avi,au,caf,flv,mpeg,mpegts,w64"


@dataclass(frozen=True)
class Sound:
    """A recording, decoded."""

    samples: Samples
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / SAMPLE_RATE


def read_sound(file: BinaryIO, name: str, *, seconds_max: float) -> Sound:
    """Decode a whole recording; refuse one that is empty, damaged, silent or too long to hold."""
    _refuse_empty(file, name)
    with _opened(file, name) as container:
        declared = (container.duration or 0) / av.time_base
        if declared > seconds_max:
            raise _overlong(name, f"lasts {timedelta(seconds=round(declared))}", seconds_max)
        decoder = _Decoder(container)
        samples = decoder.read(seconds_max + 1, name)
    sound = Sound(samples, tuple(_doubts(len(samples) / SAMPLE_RATE, declared, decoder.damaged)))
    if sound.seconds > seconds_max:
        raise _overlong(name, "goes on and on", seconds_max)
    if max(samples.max(), -samples.min()) < SILENCE_PEAK:
        raise SilentAudio(f"{name} is silent: {sound.seconds:.1f} s without a sound. Check how it was recorded.")
    return sound


def read_first_second(file: BinaryIO, name: str) -> Sound:
    """Decode one second, which may well be silent: enough to know that the file can be read."""
    _refuse_empty(file, name)
    with _opened(file, name) as container:
        samples = _Decoder(container).read(1.0, name)
    return Sound(samples[:SAMPLE_RATE])


def in_parts(samples: Samples, seconds: float = PART_SECONDS) -> Iterator[tuple[float, Samples]]:
    """A long recording in pieces, each with its start in seconds, cut where it is quietest and not within a word."""
    start, size = 0, int(seconds * SAMPLE_RATE)
    while len(samples) - start > size:
        cut = start + _quietest(samples[start : start + size])
        yield start / SAMPLE_RATE, samples[start:cut]
        start = cut
    yield start / SAMPLE_RATE, samples[start:]


def _quietest(samples: Samples) -> int:
    """The middle of the quietest tenth of a second near the end."""
    frame = SAMPLE_RATE // 10
    frames = min(LOOK_BACK_SECONDS * 10, len(samples) // frame // 2)
    first = len(samples) - frames * frame
    loudness = np.square(samples[first:]).reshape(frames, frame).mean(axis=1)
    return first + int(loudness.argmin()) * frame + frame // 2


class _Decoder:
    """Decodes one container, stepping over damaged packets as players do, but counting them."""

    def __init__(self, container: InputContainer) -> None:
        self.damaged = 0
        self._container = container
        self._resampler = _resampler()

    def read(self, seconds: float, name: str) -> Samples:
        """The first `seconds`, or all if there are fewer."""
        wanted, kept = int(seconds * SAMPLE_RATE), bytearray()
        for frame in self._frames():
            for heard in self._resample(frame):
                kept += heard.to_ndarray().tobytes()
            if len(kept) // 2 >= wanted:
                break
        if not kept:
            why = "its data is damaged" if self.damaged else "its audio track holds nothing"
            raise (BrokenAudio if self.damaged else EmptyAudio)(f"{name} cannot be transcribed: {why}.")
        return np.frombuffer(kept, dtype=np.int16).astype(np.float32) / FULL_SCALE

    def _resample(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        try:
            return self._resampler.resample(frame)
        except ValueError:  # the recording changes its sample rate or its channels here
            rest = self._resampler.resample(None)
            self._resampler = _resampler()
            return rest + self._resampler.resample(frame)

    def _frames(self) -> Iterator[av.AudioFrame | None]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                frame.pts = None  # gaps and jumps in time stamps are the recorder's; the samples follow each other
                yield frame
        yield None  # flushes the resampler

    def _packets(self) -> Iterator["av.Packet[av.AudioStream]"]:
        try:
            yield from self._container.demux(self._container.streams.audio[0])
        except av.error.FFmpegError:  # the container itself ends in the middle
            self.damaged += 1


def _resampler() -> AudioResampler:
    return AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def _refuse_empty(file: BinaryIO, name: str) -> None:
    if not file.read(1):
        raise EmptyAudio(f"{name} is empty: 0 bytes. Check how it was made or copied.")
    file.seek(0)


def _opened(file: BinaryIO, name: str) -> InputContainer:
    try:
        container = av.open(file, "r", metadata_errors="ignore", options={"format_whitelist": FORMATS})
    except av.error.FFmpegError:
        raise BrokenAudio(
            f"{name} is damaged, or not of a format that can be read: wav, mp3, flac, ogg, opus, m4a, mp4, webm ..."
        ) from None
    if not container.streams.audio:
        container.close()
        raise NoAudioTrack(f"{name} has no audio track.")
    return container


def _overlong(name: str, how_long: str, seconds_max: float) -> OverlongAudio:
    return OverlongAudio(
        f"{name} {how_long}; max_hours = {seconds_max / 3600:.3g} ends at {timedelta(seconds=round(seconds_max))}. "
        "Raise max_hours, or split the recording."
    )


def _doubts(seconds: float, declared: float, damaged: int) -> Iterator[str]:
    if damaged:
        yield f"{damaged} damaged packets were skipped: words may be missing."
    if seconds < 0.9 * declared and declared - seconds > SLACK_SECONDS:
        yield f"The file says {declared:.0f} s and held {seconds:.0f} s: it may have been cut off."
