"""What a job's author imports: the context that a job function may take as its one argument.

    from vm_agent.job import Context

    def run(context: Context) -> dict[str, int]:
        for index, row in enumerate(rows := load(context.params["table"])):
            work(row)
            context.progress(index / len(rows), f"row {index}")
        return {"rows": len(rows)}

Only the standard library is imported here: every run pays for what this module costs.
"""

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

_MESSAGE_LENGTH_MAX = 1000  # characters


@dataclass(frozen=True)
class Context:
    """What a run is about and what it may tell: given to every job function that takes one argument."""

    params: Mapping[str, Any]  # as sent with the start
    mode: str  # "run", or "test": the rehearsal, which must leave no trace outside
    artifacts: Path  # an existing folder; whatever is written there is listed, served and copied out
    deadline: datetime | None = None  # aware, UTC; the run is killed then
    run_key: str = ""  # what makes this run one, however often it is asked for
    attempt: int = 1  # 2 and more: the attempt before was cut off, and nobody knows how far it came
    progress_file: Path | None = field(default=None, repr=False)

    @property
    def rehearsal(self) -> bool:
        """Whether this is the rehearsal: nothing may be traded, sent or changed outside."""
        return self.mode == "test"

    def progress(self, fraction: float | None, message: str = "") -> None:
        """Tell how far the run is: `fraction` in 0..1, or None when it cannot tell. Cheap; the last word wins."""
        if self.progress_file is None:
            return
        kept = None if fraction is None else min(1.0, max(0.0, float(fraction)))
        word = json.dumps({"fraction": kept, "message": str(message)[:_MESSAGE_LENGTH_MAX]})
        draft = self.progress_file.with_name(f"progress.{os.getpid()}-{threading.get_ident()}.new")
        with contextlib.suppress(OSError):  # a full disk: to tell of the work may not end it
            draft.write_text(word, encoding="utf-8")
            draft.replace(self.progress_file)  # a reader sees the old word or the new one, never half of one

    def log(self, message: str) -> None:
        """Write one line to the run's log. `print` does as well."""
        print(message, flush=True)  # noqa: T201 - the job's stdout is its log
