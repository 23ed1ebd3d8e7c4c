"""`POST /batch/...`: several requests in one multipart body, as gcloud sends two or more."""

import email.parser
import email.policy
from email.message import Message
from urllib.parse import urlsplit
from uuid import uuid4

from gcp_emulator.asgi import Handler, decoded, json_reply, parse_query
from gcp_emulator.wire import LOST, Lost, Reply, Request

REQUESTS_MAX = 1000  # as Google's own limit


async def answer_batch(request: Request, answer: Handler) -> Reply | Lost:
    """Answer each part by itself, in order; a part that fails does not spoil the others."""
    head = f"content-type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    parts = [part for part in message.walk() if part.get_content_type() == "application/http"]
    if not parts or len(parts) > REQUESTS_MAX:
        error = f"A batch is multipart/mixed and holds 1 to {REQUESTS_MAX} application/http parts, not {len(parts)}."
        return json_reply(400, {"error": {"code": 400, "message": error, "status": "INVALID_ARGUMENT"}})
    boundary = f"batch_{uuid4().hex}"
    answers: list[bytes] = []
    for part in parts:
        reply = await answer(_unpacked(part, request))
        if isinstance(reply, Lost):
            return LOST  # they share one connection
        answers.append(_packed(part, reply, boundary))
    body = b"".join(answers) + f"--{boundary}--\r\n".encode()
    return Reply(200, body, {"content-type": f"multipart/mixed; boundary={boundary}"})


def _unpacked(part: Message, batch: Request) -> Request:
    """The request inside a part. What the batch says about itself, such as who asks, holds for its parts too."""
    content = part.get_payload(decode=True)
    head, _, body = bytes(content if isinstance(content, bytes) else b"").replace(b"\r\n", b"\n").partition(b"\n\n")
    first_line, _, header_lines = head.decode("latin-1").lstrip().partition("\n")
    verb, _, target = first_line.partition(" ")
    url = urlsplit(target.rpartition(" ")[0] or target)
    own = {name.lower(): value for name, value in email.message_from_string(header_lines).items()}
    inherited = {name: batch.headers[name] for name in ("authorization", "host") if name in batch.headers}
    return Request(verb, decoded(url.path), parse_query(url.query), inherited | own, body.rstrip(b"\n"))


def _packed(part: Message, reply: Reply, boundary: str) -> bytes:
    content_id = str(part.get("content-id", "<>")).replace("<", "<response-", 1)
    headers = {**reply.headers, "content-length": str(len(reply.body))}
    lines = [
        f"--{boundary}",
        "content-type: application/http",
        f"content-id: {content_id}",
        "",
        f"HTTP/1.1 {reply.status} -",
        *(f"{name}: {value}" for name, value in headers.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + reply.body + b"\r\n"
