"""Jobs of Cloud Run: a template, and what has come of it so far."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from gcp_emulator.routes import Json
from gcp_emulator.run_executions import Execution
from gcp_emulator.timing import zulu


@dataclass(slots=True)
class Job:
    """One job."""

    name: str  # projects/P/locations/L/jobs/J
    uid: str
    created: datetime
    creator: str
    modifier: str  # who wrote it last
    template: Json  # ExecutionTemplate of the v2 API, with all defaults
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    client: dict[str, str] = field(default_factory=dict)  # client, clientVersion: how who wrote it calls itself
    launch_stage: str = "GA"
    generation: int = 1
    updated: datetime | None = None
    ready: bool = False  # the last change of it has taken effect
    failure: str = ""  # or why it never will
    executions_made: int = 0
    latest: Execution | None = None

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def settled(self) -> bool:
        """Nothing more comes of its last change."""
        return self.ready or bool(self.failure)

    @property
    def etag(self) -> str:
        """Another one after each change that somebody made."""
        return f'"{sha256(f"{self.uid}/{self.generation}".encode()).hexdigest()[:20]}"'

    @property
    def changed_at(self) -> datetime:
        """When somebody changed it last."""
        return self.updated or self.created

    def as_json(self) -> Json:
        """Show it as the API does."""
        state = "FAILED" if self.failure else "SUCCEEDED" if self.ready else "RECONCILING"
        condition = {"type": "Ready", "state": f"CONDITION_{state}", "lastTransitionTime": zulu(self.changed_at)}
        document: Json = {
            "name": self.name,
            "uid": self.uid,
            "generation": str(self.generation),
            "observedGeneration": str(self.generation if self.settled else self.generation - 1),
            "createTime": zulu(self.created),
            "updateTime": zulu(self.changed_at),
            "creator": self.creator,
            "lastModifier": self.modifier,
            "launchStage": self.launch_stage,
            "template": self.template,
            "terminalCondition": condition | ({"message": self.failure} if self.failure else {}),
            "etag": self.etag,
            **self.client,
        }
        optional = {
            "labels": self.labels,
            "annotations": self.annotations,
            "executionCount": self.executions_made,
            "latestCreatedExecution": self.latest and self.latest.reference(),
            "reconciling": not self.settled,
        }
        return document | {name: value for name, value in optional.items() if value}
