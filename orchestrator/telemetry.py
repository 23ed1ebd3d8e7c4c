"""Events as JSON lines for Cloud Logging: `severity`, `message`, `time`, and fields to search by."""

import codecs
import json
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from orchestrator.clock import SystemClock
from orchestrator.events import Ended, Event, JobOutput, JobProgress, Note, PhaseEnded, PhaseStarted
from orchestrator.run import Outcome, Receipt

LINE_CHARACTERS_MAX = 60_000  # Cloud Logging takes entries up to 256 KB, and a character may have four bytes


class JsonLog:
    """Writes each event as one line; bind what all lines shall carry as keyword arguments."""

    def __init__(self, stream: TextIO, **fields: Any):
        self._stream, self._fields, self._clock = stream, fields, SystemClock()
        self._lines = Lines()
        self._tenth = -1

    def __call__(self, event: Event) -> None:
        """Write the lines that this event is worth."""
        match event:
            case PhaseStarted():
                self._say("INFO", event.sentence, phase=event.name)
            case PhaseEnded():
                self._end_phase(event)
            case JobOutput():
                for line in self._lines.feed(event.data):
                    self._say("INFO", line, source="job")
            case JobProgress():
                self._progress(event)
            case Note():
                self._say(event.severity, event.message)
            case Ended():
                self._end(event.receipt)

    def _end_phase(self, phase: PhaseEnded) -> None:
        if phase.name == "job":
            self._flush()
        severity, what = ("INFO", f"{phase.seconds:.1f} s") if phase.error is None else ("WARNING", phase.error)
        self._say(severity, f"{phase.name}: {what}", phase=phase.name, seconds=phase.seconds)

    def _progress(self, progress: JobProgress) -> None:
        # A line for every tenth of the way: each line costs money in Cloud Logging, and few are read.
        tenth = -1 if progress.fraction is None else int(progress.fraction * 10)
        if progress.fraction is None or tenth != self._tenth:
            self._say("INFO", progress_sentence(progress), source="progress", fraction=progress.fraction)
        self._tenth = tenth

    def _end(self, receipt: Receipt) -> None:
        self._flush()
        self._say(severity_of(receipt), sentence_of(receipt), outcome=receipt.outcome, exit_code=receipt.exit_code)

    def _flush(self) -> None:
        for line in self._lines.end():
            self._say("INFO", line, source="job")

    def _say(self, severity: str, message: str, **fields: Any) -> None:
        line = {"severity": severity, "time": self._clock.now().isoformat(), "message": message}
        self._stream.write(json_line(line | self._fields | fields, self._stream) + "\n")
        self._stream.flush()


class Lines:
    """Cuts a stream of bytes into lines of text; a character that arrives in two halves stays one."""

    def __init__(self, longest: int = LINE_CHARACTERS_MAX):
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._open = ""
        self._longest = longest

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that are complete now; one that grows too long is cut."""
        *complete, self._open = (self._open + self._decoder.decode(data)).split("\n")
        for line in complete:
            yield from self._cut(line.removesuffix("\r"))
        while len(self._open) > self._longest:
            yield self._open[: self._longest]
            self._open = self._open[self._longest :]

    def end(self) -> Iterator[str]:
        """What was left without a line break."""
        rest = self._open + self._decoder.decode(b"", final=True)
        self._open = ""
        if rest:
            yield from self._cut(rest)

    def _cut(self, line: str) -> Iterator[str]:
        yield line[: self._longest]
        for start in range(self._longest, len(line), self._longest):
            yield line[start : start + self._longest]


def json_line(fields: Mapping[str, Any], stream: TextIO) -> str:
    """The fields as one line for the stream; escaped where its encoding lacks a letter."""
    line = json.dumps(fields, ensure_ascii=False, default=str)
    try:
        line.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(fields, default=str)
    return line


def progress_sentence(progress: JobProgress) -> str:
    """`42 %: minute 3 of 7`."""
    share = "" if progress.fraction is None else f"{progress.fraction:.0%}".replace("%", " %")
    return ": ".join(part for part in (share, progress.message) if part) or "working"


def severity_of(receipt: Receipt) -> str:
    """How loud the end is, as in Cloud Logging."""
    match receipt:
        case Receipt(cleanup="owed"):
            return "ERROR"
        case Receipt(outcome=Outcome.SUCCEEDED):
            return "INFO"
        case Receipt(outcome=Outcome.BUSY):
            return "NOTICE"
        case _:
            return "ERROR"


def sentence_of(receipt: Receipt) -> str:
    """The receipt in one sentence or two, for a log line."""
    what = f"{receipt.job} ({receipt.mode}) {receipt.outcome}"
    if receipt.detail:
        what += f": {receipt.detail}"
    if receipt.cleanup == "owed":
        what += " CLEAN-UP OWED: the VM may still be on."
    return what
