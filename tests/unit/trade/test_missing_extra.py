"""Without ccxt the job says what to install."""

import subprocess
import sys

SCRIPT = """
import asyncio, pathlib, sys
sys.modules["ccxt"] = None
from vm_agent.job import Context
from vm_agent.jobs.trade import run
asyncio.run(run(Context({"symbol": "BTC/USDT", "spend": 50}, "test", pathlib.Path())))
"""


def test_a_machine_without_the_extra_says_which_one_to_install() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert "MissingExtra: ccxt is not installed here. Install the extra: mayfly[trade]." in ended.stderr
