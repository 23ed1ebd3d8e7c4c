"""Names of enums for their numbers: Google's Python clients send numbers over REST (`$alt=json;enum-encoding=int`)."""

from collections.abc import Mapping
from typing import Any

# Field -> names by number, as in the proto files of the services. Discovery documents do not have the numbers.
NAMES: Mapping[str, Mapping[int, str]] = {
    "httpMethod": dict(
        enumerate(("HTTP_METHOD_UNSPECIFIED", "POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"))
    ),
    "executionEnvironment": {
        number: f"EXECUTION_ENVIRONMENT_{name}" for number, name in enumerate(("UNSPECIFIED", "GEN1", "GEN2"))
    },
    "egress": dict(enumerate(("VPC_EGRESS_UNSPECIFIED", "ALL_TRAFFIC", "PRIVATE_RANGES_ONLY"))),
    "launchStage": dict(
        enumerate(
            (
                "LAUNCH_STAGE_UNSPECIFIED",
                "EARLY_ACCESS",
                "ALPHA",
                "BETA",
                "GA",
                "DEPRECATED",
                "UNIMPLEMENTED",
                "PRELAUNCH",
            )
        )
    ),
}


def named(given: Any) -> Any:
    """Give the same document with names in it; a number that no name has stays."""
    match given:
        case dict():
            return {
                key: NAMES.get(key, {}).get(value, value) if isinstance(value, int) else named(value)
                for key, value in given.items()
            }
        case list():
            return [named(one) for one in given]
        case _:
            return given
