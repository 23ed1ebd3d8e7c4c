"""The API as an OpenAPI document, for those who test it or write a client. It is made from the app; no agent serves it.

    python -m vm_agent.document > openapi.json

FastAPI knows paths, path parameters and queries. What the endpoints read and write by hand is in the tables below.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter

from vm_agent.protocol import (
    API_KEY_HEADER,
    EPOCH_HEADER,
    KEY_HEADER,
    LOG_COMPLETE_HEADER,
    LOG_NEXT_HEADER,
    PROBLEM_MEDIA_TYPE,
    START_MEDIA_TYPE,
    ArtifactList,
    Greeting,
    Health,
    Problem,
    RunList,
    RunView,
    StartRequest,
    Upload,
)

Json = dict[str, Any]

JSON, BINARY, EVENTS = "application/json", "application/octet-stream", "text/event-stream"
_TEXT: Json = {"type": "string"}
_BYTES: Json = {"type": "string", "format": "binary"}
_WHOLE: Json = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_PLAIN: Json = {
    "oneOf": [
        {"type": "object", "required": ["status", "result"], "properties": {"status": {"const": "ok"}, "result": {}}},
        {
            "type": "object",
            "required": ["status", "detail"],
            "properties": {"status": {"const": "error"}, "detail": _TEXT},
        },
    ]
}
_MODELS = (ArtifactList, Greeting, Health, Problem, RunList, RunView, StartRequest, Upload)

_WHY = {
    400: "The request cannot be understood.",
    401: "Credentials are missing or wrong.",
    403: "These credentials may not do this.",
    404: "It is not here.",
    405: "No such method on this path.",
    408: "The body did not come in time.",
    409: "Somebody else is in the way: another run, a later epoch, a live lease, another part.",
    412: "This VM goes out by another address than the one asked for.",
    413: "The body is too large.",
    416: "No such range in this file.",
    421: "This is another host.",
    422: "This key was used for something else, or what came is another file.",
    429: "Too many failed attempts.",
    500: "The agent made a mistake; its log has the traceback.",
    503: "Not ready, or too many requests at once.",
}
_ANYWHERE = (400, 401, 403, 409, 421, 429, 500, 503)
_STARTING = (405, 408, 412, 413, 422)


def _named(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _answer(description: str, schemas: Mapping[str, Json], **headers: Json) -> Json:
    shown = {name.replace("_", "-"): {"schema": schema} for name, schema in headers.items()}
    return {
        "description": description,
        "content": {kind: {"schema": one} for kind, one in schemas.items()},
        "headers": shown,
    }


def _header(name: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "schema": schema}


_EPOCH = _header(EPOCH_HEADER, _WHOLE)
_KEY = _header(KEY_HEADER, {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"})
_RUN = {JSON: _named(RunView)}
_PROBLEM = {PROBLEM_MEDIA_TYPE: _named(Problem)}
_HEALTH = {JSON: {"anyOf": [_named(Greeting), _named(Health)]}}
_LINKS = {
    name: {"operationId": name, "parameters": {"run_id": "$response.body#/id"}}
    for name in ("show_run", "show_log", "list_artifacts", "cancel_run")
}
_START: Json = {
    "requestBody": {
        "content": {JSON: {"schema": {"type": "object"}}, START_MEDIA_TYPE: {"schema": _named(StartRequest)}}
    },
    "parameters": [_KEY, _EPOCH, _header("Prefer", _TEXT)],
    "responses": {
        "200": _answer("The run, which has finished.", _RUN, Location=_TEXT, Preference_Applied=_TEXT),
        "202": {
            **_answer("The run, which goes on.", _RUN, Location=_TEXT, Preference_Applied=_TEXT),
            "links": _LINKS,
        },
    },
    "problems": _STARTING,
}
_START_PLAINLY: Json = {
    "parameters": [_KEY, _EPOCH],
    "responses": {
        "200": _answer("The job succeeded.", {JSON: _PLAIN}, Content_Location=_TEXT),
        "500": _answer("The job failed.", {JSON: _PLAIN}, Content_Location=_TEXT),
    },
    "problems": _STARTING,
}
_LOG_HEADERS = {LOG_NEXT_HEADER: _WHOLE, LOG_COMPLETE_HEADER: {"enum": ["true", "false"]}}
_OPERATIONS: Mapping[str, Json] = {
    "get /": {
        "responses": {"200": _answer("Well.", _HEALTH), "503": _answer("Not well.", {**_HEALTH, **_PROBLEM})},
        "security": [{"key": []}, {"token": []}, {}],
    },
    "post /run": _START,
    "post /test": _START,
    "get /run": _START_PLAINLY,
    "get /test": _START_PLAINLY,
    "get /runs": {"responses": {"200": _answer("Newest first.", {JSON: _named(RunList)})}},
    "get /runs/{run_id}": {"responses": {"200": _answer("The run as it is.", _RUN)}, "problems": (404,)},
    "get /runs/{run_id}/logs": {
        "parameters": [_header("Last-Event-ID", _TEXT)],
        "responses": {"200": _answer("What is there.", {BINARY: _BYTES, EVENTS: _TEXT}, **_LOG_HEADERS)},
        "problems": (404,),
    },
    "get /runs/{run_id}/artifacts": {
        "responses": {"200": _answer("By path.", {JSON: _named(ArtifactList)})},
        "problems": (404,),
    },
    "get /runs/{run_id}/artifacts/{path}": {
        "parameters": [_header("Range", _TEXT)],
        "responses": {
            "200": _answer("The whole file.", {BINARY: _BYTES}, Accept_Ranges=_TEXT),
            "206": _answer("The part asked for.", {BINARY: _BYTES}, Accept_Ranges=_TEXT, Content_Range=_TEXT),
        },
        "problems": (404, 416),
    },
    "post /runs/{run_id}/cancel": {
        "responses": {"202": _answer("It is being ended.", _RUN)},
        "problems": (404,),
        "parameters": [_EPOCH],
    },
    "get /files/{digest}": {"responses": {"200": _answer("How much is here.", {JSON: _named(Upload)})}},
    "put /files/{digest}": {
        "requestBody": {"content": {BINARY: {"schema": _BYTES}}},
        "responses": {"200": _answer("How much is here now.", {JSON: _named(Upload)})},
        "problems": (408, 413, 422),
    },
    "post /poweroff": {
        "responses": {"202": {"description": "The machine goes off."}},
        "problems": (404,),
        "parameters": [_EPOCH],
    },
}


def document(face: FastAPI) -> Json:
    """OpenAPI 3.1 of all that this face answers."""
    api = face.openapi()
    api["components"] = {
        "schemas": dict(_schemas()),
        "securitySchemes": {
            "key": {"type": "apiKey", "in": "header", "name": API_KEY_HEADER},
            "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        },
    }
    api["security"] = [{"key": []}, {"token": []}]
    api["paths"] = {path.replace(":anything", ""): operations for path, operations in api["paths"].items()}
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            _complete(operation, _OPERATIONS[f"{method} {path}"])
    return api


def _complete(operation: Json, known: Json) -> None:
    """What FastAPI made of an endpoint, with what it cannot know; its own guesses about answers go."""
    problems = {str(status): _problem(status) for status in sorted({*_ANYWHERE, *known.get("problems", ())})}
    operation["responses"] = {**problems, **known["responses"]}
    operation["parameters"] = [*operation.get("parameters", []), *known.get("parameters", [])]
    operation |= {name: known[name] for name in ("requestBody", "security") if name in known}


def _problem(status: int) -> Json:
    return _answer(_WHY[status], _PROBLEM)


def _schemas() -> Iterator[tuple[str, Json]]:
    for model in _MODELS:
        schema = TypeAdapter(model).json_schema(
            mode="validation" if model is StartRequest else "serialization",
            ref_template="#/components/schemas/{model}",
        )
        yield from schema.pop("$defs", {}).items()
        yield model.__name__, schema


if __name__ == "__main__":
    from vm_agent.app import make_face

    print(json.dumps(document(make_face()), indent=2))  # noqa: T201 - that is what it is for
