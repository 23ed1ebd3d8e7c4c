"""No word of a caller leads to a link-local address: not by name, not by number, not by a redirect."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.test_agent_egress import a_page, says
from tests.tools import require_other_users
from vm_agent.jobs.transcribe.download import download
from vm_agent.jobs.transcribe.errors import Unreachable
from vm_agent.link_local import is_link_local


@pytest.mark.parametrize(
    ("address", "link_local"),
    [
        ("169.254.169.254", True), ("169.254.0.1", True), ("fe80::1", True), ("fe80::1%eth0", True),
        ("::ffff:169.254.169.254", True), ("fd20:ce::254", True), ("169.253.169.254", False), ("127.0.0.1", False),
        ("10.128.0.2", False), ("fd20:ce::255", False), ("2001:db8::1", False), ("::ffff:10.0.0.1", False),
    ],
)  # fmt: skip
def test_link_local_is_told_however_it_is_written(address: str, link_local: bool) -> None:
    assert is_link_local(address) is link_local


# In a network of its own, where somebody listens at the metadata server's address and writes down who came.
LED_THERE = """
import asyncio, io, json, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from vm_agent.egress import Echo
from vm_agent.jobs.transcribe.download import download
asked = []
class Metadata(BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        self.send_response(200); self.end_headers(); self.wfile.write(b"203.0.113.7")
    def log_message(self, *_): pass
class Redirect(Metadata):
    def do_GET(self):
        self.send_response(302); self.send_header("Location", "http://169.254.169.254/redirected"); self.end_headers()
for place, kind in (("169.254.169.254", Metadata), ("127.0.0.1", Redirect)):
    threading.Thread(target=HTTPServer((place, 80), kind).serve_forever, daemon=True).start()
told = {}
for url in json.loads(sys.argv[1]):
    try:
        told[url] = str(download(url, io.BytesIO(), bytes_max=99))
    except Exception as why:
        told[url] = str(why)
    echo = asyncio.run(Echo(url).look())
    if echo:
        told[url] += f" echo: {echo}"
import urllib.request
assert urllib.request.urlopen("http://169.254.169.254/control").status == 200
print(json.dumps({"told": told, "asked": asked}))
"""
WAYS = ["http://169.254.169.254/x", "http://2852039166/x", "http://0xA9FEA9FE/x", "http://169.254.43518/x",
        "http://[::ffff:169.254.169.254]/x", "http://127.0.0.1/x"]  # fmt: skip


def test_neither_a_recording_nor_an_echo_leads_to_the_metadata_server() -> None:
    require_other_users()
    command = [sys.executable, "-m", "tests.contract.opened", "--net", "-c", LED_THERE, json.dumps(WAYS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["asked"] == ["/control"], "only the one that looked whether anybody listens"
    for way in WAYS:
        assert "link-local" in found["told"][way], way


def test_other_addresses_are_fetched_as_before(tmp_path: Path) -> None:
    with a_page(says("a recording")) as url:
        into = io.BytesIO()
        assert download(url, into, bytes_max=99) == 11
    assert into.getvalue() == b"a recording"
    with a_page(says("", 404)) as url, pytest.raises(Unreachable, match="404"):
        download(url, io.BytesIO(), bytes_max=99)
