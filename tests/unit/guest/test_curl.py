"""The emulator's own curl, and the real one where there is one: the same output, exit status and requests."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gcp_emulator.guest.isolation import SPARES
from tests.tools import required_tool

BARE = {"PATH": os.environ["PATH"]}  # no proxies


@pytest.fixture(params=["ours", "real"])
def curl(request, tmp_path):
    ours = request.param == "ours"
    program = str(SPARES / "curl") if ours else required_tool("curl", "apt-get install curl")

    def run(*arguments, stdin=b""):
        done = subprocess.run(
            [program, *arguments], input=stdin, capture_output=True, env=BARE, cwd=tmp_path, check=False
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


@pytest.fixture
def server():
    """Answers /STATUS with it and says what it was asked; /busy is 503 twice, then 200; /mute says nothing."""
    asked: Counter[str] = Counter()

    class Door(BaseHTTPRequestHandler):
        def do_GET(self):
            asked[self.path] += 1
            if self.path == "/mute":
                return
            status = (503 if asked[self.path] < 3 else 200) if self.path == "/busy" else int(self.path[1:])
            body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            answer = f"{self.command} {self.headers['X-A']} {self.headers['Content-Type']} {body!r};".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            if status == 302:
                self.send_header("Location", "/200")
            self.end_headers()
            self.wfile.write(answer)

        do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_body_comes_out_and_what_was_asked_for_about_it(curl, server):
    assert curl("-sS", "-w", r"\n%{http_code}", "-H", "X-A: b", f"{server}/200") == (0, "GET b None '';\n200", "")


@pytest.mark.parametrize("status", [302, 404])
def test_an_error_or_a_redirect_is_an_answer_too(curl, server, status):
    assert curl("-s", f"{server}/{status}") == (0, "GET None None '';", "")


def test_with_fail_an_error_is_one(curl, server):
    assert curl("-fsS", f"{server}/404") == (22, "", "curl: (22) The requested URL returned error: 404\n")
    assert curl("-fs", "-w", "%{http_code}", f"{server}/404") == (22, "404", "")


def test_headers_and_bodies_may_come_by_standard_input_or_a_file(curl, server, tmp_path):
    assert curl("-s", "-H", "@-", f"{server}/200", stdin=b"X-A: secret\n")[1] == "GET secret None '';"
    put = "-s", "-X", "PUT", "-H", "Content-Type: x/y", "--data-binary"
    assert curl(*put, "@-", f"{server}/200", stdin=b"1\n2\n")[1] == "PUT None x/y '1\\n2\\n';"
    (tmp_path / "file").write_text("1\n2\n")
    form = "application/x-www-form-urlencoded"
    assert curl("-s", "-d", "@file", f"{server}/200")[1] == f"POST None {form} '12';"


def test_what_may_pass_is_tried_again_and_a_file_keeps_the_last_answer_only(curl, server, tmp_path):
    answer = "GET None None '';"
    asked = "-s", "--retry", "3", "--retry-delay", "1", "-w", "%{http_code}", f"{server}/busy"
    assert curl(*asked, "-o", "file") == (0, "200", "")
    assert (tmp_path / "file").read_text() == answer


def test_no_answer_is_told_by_the_exit_status(curl, server):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        assert curl("-s", "-w", "%{http_code}", refusing)[:2] == (7, "000")
        nobody.listen()  # and never accepts
        assert curl("-s", "--max-time", "0.2", refusing)[0] == 28
    assert curl("-s", f"{server}/mute")[0] == 52
    assert curl("-sk", server.replace("http", "https"))[0] == 35
    assert curl("-s", "http://nobody.invalid/")[0] == 6


def test_an_option_that_it_does_not_know_is_refused(tmp_path):
    refused = subprocess.run([SPARES / "curl", "--ftp-pasv", "x"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--ftp-pasv (this machine has no curl: this is the emulator's, a small one)" in refused.stderr


async def test_a_machine_without_curl_has_ours_and_a_real_one_wins(guest, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, program in {"bash": "bash", "env": "env", "python3": sys.executable}.items():
        (programs / name).symlink_to(Path(shutil.which(program)).resolve())
    guest.environment["PATH"] = str(programs)
    await guest.boot(f"#!{programs}/bash\ncurl -sS http://127.0.0.1:9/")
    await guest.says("startup-script exit status 7")
    await guest.guest.pull_plug()
    (programs / "curl").write_text("#!/bin/sh\nexit 123")
    (programs / "curl").chmod(0o755)
    await guest.boot(f"#!{programs}/bash\ncurl -sS http://127.0.0.1:9/")
    await guest.says("startup-script exit status 123")
