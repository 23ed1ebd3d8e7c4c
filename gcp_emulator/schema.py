"""A Google discovery document as strict JSON Schema, compiled type by type when a type is first needed.

Strict: a field that Google does not have is an error, and a 64-bit number is a string of digits, as in Google's JSON.
A discovery document cannot say which fields are always there: our own lists (`presence`) do for replies.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import fastjsonschema

JsonSchema = dict[str, Any]
Check = Callable[[Any], Any]

EMPTY = "Empty"  # the message without fields

# An error body: what Compute Engine and the other services of Google always have in it.
_ERROR_FIELDS: JsonSchema = {
    "code": {"type": "integer"},
    "message": {"type": "string"},
    "status": {"type": "string", "pattern": "^[A-Z_]+$"},
    "details": {"type": "array", "items": {"type": "object", "required": ["@type"]}},
    "errors": {
        "type": "array",
        "minItems": 1,
        "items": {"type": "object", "required": ["message", "domain", "reason"]},
    },
}


def _error_body(*required: str) -> JsonSchema:
    error = {"type": "object", "properties": _ERROR_FIELDS, "additionalProperties": False, "required": list(required)}
    return {"type": "object", "properties": {"error": error}, "additionalProperties": False, "required": ["error"]}


COMPUTE_ERROR = _error_body("code", "message", "errors")
ERROR = _error_body("code", "message", "status")


class Side(StrEnum):
    """Who sent a body: callers may leave out what Google fills in, and may write 64-bit numbers as numbers."""

    CALLER = "caller"
    GOOGLE = "google"


def compile_schema(schema: JsonSchema) -> Check:
    """A function that raises fastjsonschema.JsonSchemaValueException (a ValueError) when a value does not fit."""
    compiled: Check = fastjsonschema.compile(schema)
    return compiled


class Schemas:
    """The types of one discovery document."""

    def __init__(self, types: dict[str, Any], always_present: Mapping[str, Sequence[str]]) -> None:
        self._types = types
        self._always_present = always_present

    @functools.cache  # noqa: B019 - one Schemas lives as long as the process
    def check(self, name: str, side: Side) -> Check:
        """A function that raises when a value is not a `name`."""
        if name == EMPTY:
            return compile_schema(_convert_object({}, side))
        definitions = {each: self._definition(each, side) for each in _reachable(self._types, name)}
        return compile_schema({"$ref": f"#/definitions/{name}", "definitions": definitions})

    def _definition(self, name: str, side: Side) -> JsonSchema:
        converted = _convert(self._types[name], side)
        if side is Side.GOOGLE and name in self._always_present:
            converted["required"] = list(self._always_present[name])
        return converted


def _reachable(types: dict[str, Any], name: str) -> set[str]:
    found: set[str] = set()
    to_visit = [name]
    while to_visit:
        current = to_visit.pop()
        if current not in found:
            found.add(current)
            to_visit.extend(_references(types[current]))
    return found


def _references(definition: Any) -> Iterator[str]:
    if isinstance(definition, dict):
        if isinstance(definition.get("$ref"), str):
            yield definition["$ref"]
        for value in definition.values():
            yield from _references(value)


def _convert(source: dict[str, Any], side: Side) -> JsonSchema:
    if "$ref" in source:
        return {"$ref": f"#/definitions/{source['$ref']}"}
    match source.get("type"):
        case "object":
            return _convert_object(source, side)
        case "array":
            return {"type": "array", "items": _convert(source["items"], side)}
        case "string":
            return _convert_string(source, side)
        case "any" | None:
            return {}
        case scalar:
            return {"type": scalar, "googleType": _google_type(source)}


def _convert_object(source: dict[str, Any], side: Side) -> JsonSchema:
    properties = {name: _convert(each, side) for name, each in source.get("properties", {}).items()}
    others = source.get("additionalProperties")
    allowed = _convert(others, side) if isinstance(others, dict) else False
    return {"type": "object", "properties": properties, "additionalProperties": allowed}


def _convert_string(source: dict[str, Any], side: Side) -> JsonSchema:
    converted: JsonSchema = {"type": "string", "googleType": _google_type(source)}
    if source.get("format") in {"int64", "uint64"}:
        digits: JsonSchema = converted | {"pattern": r"^-?[0-9]+$"}
        return digits if side is Side.GOOGLE else {"anyOf": [digits, {"type": "integer"}]}
    if "enum" in source:
        # The Python REST clients of Google send an enum as its number ($alt=json;enum-encoding=int).
        named: JsonSchema = converted | {"enum": source["enum"]}
        return named if side is Side.GOOGLE else {"anyOf": [named, {"type": "integer"}]}
    if "pattern" in source:
        converted["pattern"] = f"^(?:{source['pattern']})$"
    return converted


def _google_type(source: dict[str, Any]) -> str:
    name = source.get("format") or {"boolean": "bool"}.get(source["type"], source["type"])
    return f"TYPE_{name.upper()}"
