"""Holds every request and every reply against Google's own published API, the discovery documents.

A request that Google's front end would refuse never reaches the model. A reply that Google could not have sent is a
defect of the emulator: the door turns it into a 500 and puts it into the history, so that no test passes over it.
"""

import functools
import importlib.resources
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from gcp_emulator.errors import names_reasons
from gcp_emulator.presence import ALWAYS_PRESENT
from gcp_emulator.refusals import check_against, check_body_is_json, check_parameters
from gcp_emulator.schema import COMPUTE_ERROR, EMPTY, ERROR, Schemas, Side, compile_schema
from gcp_emulator.uploads import is_upload, upload_in
from gcp_emulator.wire import Reply, Request

COMPUTE, STORAGE = "compute", "storage"
# The documents, and how the paths of each begin: a document takes time to read, so none is read for nothing.
APIS: Mapping[str, tuple[str, ...]] = {
    "compute.v1": ("/compute/",),
    "storage.v1": ("/storage/",),
    "secretmanager.v1": ("/v1/projects/",),
    "cloudscheduler.v1": ("/v1/projects/",),
    "run.v2": ("/v2/projects/",),
    "run.v1": ("/apis/", "/v1/projects/"),
    "logging.v2": ("/v2/entries:",),
    "iam.v1": ("/v1/projects/", "/v1/roles", "/v1/permissions:"),
    "cloudresourcemanager.v1": ("/v1/projects/",),
    "cloudresourcemanager.v3": ("/v3/projects/",),
    "serviceusage.v1": ("/v1/projects/", "/v1/operations/"),
    "artifactregistry.v1": ("/v1/projects/",),
}
# Contents of objects come and go at the path of objects.insert and objects.get, with this before it.
TRANSFERS = re.compile(r"\A/(up|down)load(?=/storage/)")


@dataclass(frozen=True)
class Method:
    """One method of an API, such as compute.instances.start."""

    api: str  # as APIS names its document: run.v2
    id: str
    path: re.Pattern[str]
    parameters: Mapping[str, Mapping[str, Any]]  # its own, and those that all methods of the API have
    request_type: str | None
    reply_type: str | None

    @property
    def verb(self) -> str:
        """`instances.start`: the id without the API."""
        return self.id.partition(".")[2]


@functools.lru_cache(maxsize=1024)
def method_of(verb: str, path: str) -> Method | None:
    """The method that a request means; None where Google has none."""
    path = TRANSFERS.sub("", path)
    apis = (api for api, beginnings in APIS.items() if path.startswith(beginnings))
    candidates = (method for api in apis for method in _document(api).methods[verb, path.count("/")])
    return next((method for method in candidates if method.path.fullmatch(path)), None)


def check_request(request: Request, method: Method) -> None:
    """Raise ApiError where Google's front end would not let a request pass."""
    match = method.path.fullmatch(TRANSFERS.sub("", request.path))
    check_parameters(request, method.parameters, match.groupdict() if match else {})
    if method.request_type is None and not request.body:
        return
    body = check_body_is_json(upload_in(request).document if is_upload(request) else request.body)
    check = _document(method.api).schemas.check(method.request_type or EMPTY, Side.CALLER)
    check_against(check, body)


def defect(reply: Reply, request: Request, method: Method) -> str | None:
    """What is wrong with a reply of ours, measured by Google's documents and our own lists."""
    if request.query.get("alt") == "media" or reply.status == HTTPStatus.NOT_MODIFIED:
        return None  # an object's content, or nothing
    if request.query.get("uploadType") == "resumable" and reply.status == HTTPStatus.OK:
        return None  # where the object's content goes
    try:
        body = json.loads(reply.body or b"{}")
        if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
            compile_schema(COMPUTE_ERROR if names_reasons(request.path) else ERROR)(body)
        elif method.reply_type:
            _document(method.api).schemas.check(method.reply_type, Side.GOOGLE)(body)
    except ValueError as error:  # not JSON, or fastjsonschema's own error, which is one too
        return f"{method.id} answered {reply.status} with a body that Google could not send: {error}"
    return None


class _Document:
    """One discovery document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.schemas = Schemas(document["schemas"], ALWAYS_PRESENT.get(document["name"], {}))
        self.methods: defaultdict[tuple[str, int], list[Method]] = defaultdict(list)
        # A path without variables comes before one that has them: `.../aggregated` before `.../{instance}`.
        for method in sorted(_methods_in(document), key=lambda each: _path(each).count("{")):
            path = f"/{document['servicePath']}{_path(method)}"
            found = _method(document, method, path)
            self.methods[method["httpMethod"], path.count("/")].append(found)


@functools.cache
def _document(name: str) -> _Document:
    documents = importlib.resources.files("googleapiclient.discovery_cache") / "documents"
    return _Document(json.loads((documents / f"{name}.json").read_bytes()))


def _methods_in(resource: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from resource.get("methods", {}).values()
    for each in resource.get("resources", {}).values():
        yield from _methods_in(each)


def _path(method: Mapping[str, Any]) -> str:
    return str(method.get("flatPath") or method["path"])


def _method(document: Mapping[str, Any], method: Mapping[str, Any], path: str) -> Method:
    # A project of Compute Engine, or an object, may contain a colon; elsewhere one begins the verb (`...:access`).
    # ... but for a digest, which images are called by.
    variable = r"[^/]+" if document["name"] in {COMPUTE, STORAGE} else r"[^/:]+(?::[0-9a-f]{64})?"
    pattern = re.sub(r"\\{(\w+)\\}", rf"(?P<\1>{variable})", re.escape(path))
    return Method(
        api=f"{document['name']}.{document['version']}",
        id=method["id"],
        path=re.compile(pattern),
        parameters={**document["parameters"], **method.get("parameters", {}), **_unlisted(method)},
        request_type=method.get("request", {}).get("$ref"),
        reply_type=method.get("response", {}).get("$ref"),
    )


def _unlisted(method: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What gcloud sends with every list, and Google takes, although the document names it for some lists only."""
    is_list = "maxResults" in method.get("parameters", {})
    return {"returnPartialSuccess": {"type": "boolean", "location": "query"}} if is_list else {}
