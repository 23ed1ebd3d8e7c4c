"""Nothing of a log is lost on its way, however it is cut."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_agent import output, policy


@given(pieces=st.lists(st.binary(max_size=6) | st.text(max_size=3).map(str.encode)), chunk=st.integers(1, 5))
async def test_the_events_of_a_log_are_its_text(pieces: list[bytes], chunk: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "CHUNK_BYTES", chunk)
        log, coming = Path(folder, "log"), iter(pieces)
        log.touch()

        async def more(_: int) -> bool:
            for piece in coming:
                with log.open("ab") as file:  # noqa: ASYNC230 - a local file, in a test
                    file.write(piece)
                return True
            return False

        told = [event async for event in output.events(log, 0, more)]
    blocks = [dict(line.split(": ", 1) for line in block.strip("\n").split("\n")) for block in told]
    assert "".join(json.loads(block["data"]) for block in blocks) == b"".join(pieces).decode(errors="replace")
    assert [int(block["id"]) for block in blocks] == sorted(int(block["id"]) for block in blocks)
    assert (blocks[-1]["event"], int(blocks[-1]["id"])) == ("end", len(b"".join(pieces)))


def test_a_log_is_read_from_any_byte(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"012345")
    assert output.read(tmp_path / "log", 2, 3) == b"234"
    assert output.read(tmp_path / "log", 6, 3) == b""
    assert output.read(tmp_path / "none", 0, 3) == b""
