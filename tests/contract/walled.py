"""Inside a network of its own: a metadata server, and an agent that is told to cut its jobs off from it.

    python -m tests.contract.opened --net -m tests.contract.walled FOLDER METADATA [PATH]

Prints as JSON what each of a root process and a job got from each place, or why the agent did not start.
"""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.contract.agent_at_work import agent_process, result_of, write_main
from tests.contract.test_job_user import SOMEBODY

PLACES = ("tcp 169.254.169.254 80", "tcp 169.254.169.254 443", "tcp 169.254.169.254 53", "udp 169.254.169.254 53",
          "udp 169.254.169.254 123", "udp 169.254.169.254 80", "tcp 127.0.0.1 8080")  # fmt: skip
ASKS = """
import json, socket
def asked(place):
    kind, host, port = place.split()
    with socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as one:
        one.settimeout(10)
        try:
            one.connect((host, int(port)))
            one.send(b"GET /token HTTP/1.0\\r\\nMetadata-Flavor: Google\\r\\n\\r\\n")
            said = b""
            while (more := one.recv(4096)) and kind == "tcp":
                said += more
            return (said or more).decode()[-5:]
        except OSError as refused:
            return type(refused).__name__
def run(context):
    return {place: asked(place) for place in context.params["places"]}
"""


class Token(BaseHTTPRequestHandler):
    """Hands out a token to everybody."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"token")

    def log_message(self, *_: Any) -> None:
        pass


def main(folder: Path, metadata: str, path: str | None) -> None:
    """Print what was found."""
    for place in PLACES:
        serve(*place.split())
    found = {"root": in_root(), **asyncio.run(in_jobs(folder, metadata, path))}
    print(json.dumps(found))  # noqa: T201


def serve(kind: str, host: str, port: str) -> None:
    if kind == "tcp":
        threading.Thread(target=ThreadingHTTPServer((host, int(port)), Token).serve_forever, daemon=True).start()
        return
    listening = socket.socket(type=socket.SOCK_DGRAM)
    listening.bind((host, int(port)))

    def answer() -> None:
        while True:
            _, caller = listening.recvfrom(4096)
            listening.sendto(b"token", caller)

    threading.Thread(target=answer, daemon=True).start()


def in_root() -> dict[str, str]:
    asking = f"{ASKS}\nprint(json.dumps({{place: asked(place) for place in {PLACES!r}}}))"
    told = subprocess.run([sys.executable, "-c", asking], check=True, capture_output=True).stdout
    return dict(json.loads(told))


async def in_jobs(folder: Path, metadata: str, path: str | None) -> dict[str, Any]:
    write_main(folder, ASKS)
    environment = {"MAYFLY_JOB_USER": SOMEBODY, "MAYFLY_JOB_METADATA": metadata}
    try:
        async with agent_process(folder, **environment, **({"PATH": path} if path else {})) as agent:
            first = await result_of(agent.client, params={"places": PLACES})
            if metadata == "deny":
                flush()
            second = await result_of(agent.client, params={"places": PLACES})
    except AssertionError as why:
        return {"agent": str(why)}
    return {"job": first["result"], "job after a flush": second["result"]}


def flush() -> None:
    """As a firewall does when it starts again."""
    subprocess.run(["nft", "flush", "ruleset"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *(sys.argv[3:] or [None]))
