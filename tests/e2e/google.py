"""What startup.sh sees of Google Cloud, in one small server: a VM's metadata, guest attributes, secrets."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "ya29.the-token"
INSTANCE = "/computeMetadata/v1/instance/"


class Google:
    """One VM's metadata server and its project's secrets. Change `attributes` and `secrets` at will."""

    def __init__(self) -> None:
        self.attributes: dict[str, str] = {}
        self.secrets: dict[str, bytes] = {}  # "ID/versions/V"
        self.reports: list[dict[str, object]] = []  # what was PUT as mayfly/boot
        self.stumbles: dict[str, int] = {}  # path below instance/ -> so many of the next answers are 503
        google = self

        class Door(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                where = self.path.removeprefix(INSTANCE)
                if google.stumbles.get(where, 0) > 0:
                    google.stumbles[where] -= 1
                    self.answer(503, b"try again")
                else:
                    self.answer(*google.answer(self.path, self.headers))

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if (
                    self.path == f"{INSTANCE}guest-attributes/mayfly/boot"
                    and self.headers["Metadata-Flavor"] == "Google"
                ):
                    google.reports.append(json.loads(body))
                    self.answer(200, b"")
                else:
                    self.answer(404, b"")

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.host = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Google":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path, headers):
        if path.startswith("/computeMetadata/"):
            value = self._metadata(path) if headers["Metadata-Flavor"] == "Google" else None
            return (404, b"no such value") if value is None else (200, value.encode())
        if headers["Authorization"] != f"Bearer {TOKEN}":
            return 401, _error("no token")
        payload = self.secrets.get(path.removeprefix("/v1/projects/demo/secrets/").removesuffix(":access"))
        if payload is None:
            return 404, _error(f"Secret [{path}] not found or has no versions.")
        data = base64.b64encode(payload).decode()
        return 200, json.dumps({"name": path, "payload": {"data": data, "dataCrc32c": "1"}}, indent=2).encode()

    def _metadata(self, path):
        if path.startswith(f"{INSTANCE}attributes/"):
            return self.attributes.get(path.removeprefix(f"{INSTANCE}attributes/"))
        return {
            f"{INSTANCE}name": "gpu-vm",
            f"{INSTANCE}zone": "projects/123/zones/us-central1-a",
            f"{INSTANCE}network-interfaces/0/ip": "127.0.0.1",
            f"{INSTANCE}service-accounts/default/token": json.dumps({"access_token": TOKEN, "expires_in": 3599}),
            "/computeMetadata/v1/project/project-id": "demo",
        }.get(path)


def _error(message: str) -> bytes:
    return json.dumps({"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}, indent=2).encode()
