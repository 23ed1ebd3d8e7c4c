"""What Google's front end says before a request reaches any service: unknown names, wrong types, missing parameters."""

import json
import re
from collections.abc import Mapping
from typing import Any

import fastjsonschema

from gcp_emulator.errors import ApiError, UnknownNameError, invalid, missing
from gcp_emulator.schema import Check
from gcp_emulator.wire import Request

# What the clients of Google put into a query beside the parameters that the documents name.
OF_ALL_CLIENTS = {"$alt", "$prettyPrint", "$fields", "$apiVersion"}


def check_parameters(request: Request, known: Mapping[str, Mapping[str, Any]], in_path: Mapping[str, str]) -> None:
    """Every parameter is one that the method has, every required one is there, and each fits its pattern."""
    for name in request.query:
        if name not in OF_ALL_CLIENTS and known.get(name, {}).get("location") != "query":
            what = f"Cannot bind query parameter. Field '{name}' could not be found in request message."
            raise UnknownNameError(name, what)
    for name, definition in known.items():
        value = request.query.get(name, in_path.get(name))
        if value is not None:
            _check_parameter(name, value, definition)
        elif definition.get("required") and definition["location"] == "query":
            raise missing(name)


def check_body_is_json(body: bytes) -> Any:
    """The body as JSON; none at all is an empty message."""
    try:
        return json.loads(body or b"{}")
    except ValueError:
        first_line = body.decode(errors="replace").partition("\n")[0]
        message = f"Invalid JSON payload received. Unexpected token.\n{first_line}\n^"
        raise ApiError(400, "parseError", message) from None


def check_against(check: Check, body: Any) -> None:
    """The body has the fields of its message and no others."""
    try:
        check(body)
    except fastjsonschema.JsonSchemaValueException as error:
        raise _in_googles_words(error) from None


def _check_parameter(name: str, value: str, definition: Mapping[str, Any]) -> None:
    if "pattern" in definition and not re.fullmatch(definition["pattern"], value):
        raise invalid(name, value, f"Must be a match of regex '{definition['pattern']}'")
    if definition["type"] == "boolean" and value.lower() not in {"true", "false"}:
        raise _wrong_type(name, "TYPE_BOOL", value)
    if definition["type"] == "integer" and not re.fullmatch(r"-?\d+", value):
        raise _wrong_type(name, f"TYPE_{definition['format'].upper()}", value)
    if "enum" in definition and value not in definition["enum"]:
        raise _wrong_type(name, "TYPE_ENUM", value)


def _in_googles_words(error: fastjsonschema.JsonSchemaValueException) -> ApiError:
    place = _place(error.path[1:])
    match error.rule:
        case "additionalProperties":
            unknown = min(set(error.value) - set(error.definition["properties"]))
            return UnknownNameError(unknown, "Cannot find field.", place)
        case "pattern":
            regex = error.definition["pattern"].removeprefix("^(?:").removesuffix(")$")
            return invalid(f"resource.{place}", error.value, f"Must be a match of regex '{regex}'")
        case _:
            definition = (error.definition.get("anyOf") or [error.definition])[0]
            expected = "TYPE_ENUM" if "enum" in definition else definition.get("googleType", "TYPE_MESSAGE")
            return _wrong_type(place, expected, error.value)


def _wrong_type(place: str, expected: str, value: object) -> ApiError:
    return ApiError(400, "badRequest", f"Invalid value at '{place}' ({expected}), {json.dumps(value)}")


def _place(path: list[str]) -> str:
    """`networkInterfaces`, `0`, `name` -> `network_interfaces[0].name`: Google names the fields of its own message."""
    dotted = ".".join(path)
    indexed = re.sub(r"\.(\d+)", r"[\1]", dotted)
    return re.sub(r"(?<!^)([A-Z])", lambda capital: f"_{capital.group().lower()}", indexed)
