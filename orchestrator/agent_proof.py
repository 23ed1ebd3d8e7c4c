"""Who answers at an agent's address: first the certificate that its VM has published, then Google's word for the VM.

Nobody is trusted until somebody answers there: only then is the publication read, for it comes before the agent
listens, and guest attributes may be rate-limited. What an impostor sees of us is a handshake that breaks off.
"""

from collections.abc import Mapping
from ssl import SSLContext
from typing import Any

from orchestrator.agent_tls import trusting
from orchestrator.attested import difference
from orchestrator.errors import AgentUnproven, Stranger, Transient, WrongMachine
from orchestrator.google_keys import KeysOfGoogle
from orchestrator.policy import Policy
from orchestrator.ports import Clock, Machines
from orchestrator.seen import Machine
from vm_agent.protocol import PUBLICATION, Greeting, Publication

_NOTHING_ASKED = "Nothing was asked of it."


class Proof:
    """That it is the agent of `machine`, an instance of that project and zone."""

    def __init__(
        self,
        machine: Machine,
        machines: Machines,
        keys: KeysOfGoogle,
        policy: Policy,
        clock: Clock,
        *,
        project: str,
        zone: str,
    ) -> None:
        self.context: SSLContext = trusting(None)  # by the last publication
        self.proven: SSLContext | None = None  # likewise, and whoever has its key has shown Google's word
        self._machine, self._machines, self._keys = machine, machines, keys
        self._project, self._zone = project, zone
        self._policy, self._clock = policy, clock
        self._audience = ""  # of the identity token that goes with it
        self._epoch = 0  # under which it was published
        self._doubt = ""
        self._next_read, self._pause = float("-inf"), policy.publication

    async def look_up(self, failed: SSLContext) -> None:
        """Somebody answers whom `failed` does not trust. Returns if there is another to try; Stranger if not."""
        now = self._clock.monotonic()
        if now >= self._next_read:
            self._next_read = now + self._pause.total_seconds()
            self._pause = min(2 * self._pause, self._policy.publication_longest)
            await self._read()
        if self.context is failed:
            raise Stranger(f"Somebody answers, but {self._doubt} {_NOTHING_ASKED}", epoch=self._epoch)

    async def check(self, greeting: Greeting) -> None:
        """WrongMachine if Google's word is for another, AgentUnproven if there is none to be had as yet."""
        if self.proven is self.context:
            return
        if greeting.identity is None:
            raise AgentUnproven(
                f"The agent on {self._machine.name} shows no identity token. Has the VM a service account?"
            )
        claims = await self._claims(greeting.identity, self._audience)
        other = difference(claims, self._project, self._zone, self._machine)
        if other:
            raise self._wrong(other)
        self.proven = self.context
        self._next_read, self._pause = float("-inf"), self._policy.publication  # should a stranger answer after this

    async def _claims(self, token: str, audience: str) -> Mapping[str, Any]:
        from vm_agent.signed import BadToken, NoKeys, OutOfTime  # noqa: PLC0415 - imported by now: see google_keys

        try:
            return await self._keys.claims(token, audience)
        except NoKeys as unknown:
            raise AgentUnproven(
                f"The identity token of {self._machine.name} cannot be checked: {unknown}."
            ) from unknown
        except OutOfTime as clock:
            raise AgentUnproven(
                f"By this machine's clock, the identity token of {self._machine.name} does not hold: {clock}. "
                "Is this machine's clock right?"
            ) from clock
        except BadToken as bad:
            raise self._wrong(f"its identity token does not hold: {bad}") from bad

    def _wrong(self, why: str) -> WrongMachine:
        return WrongMachine(
            f"The agent that answers for {self._machine.name} is not the one that it should be: {why}. "
            f"{_NOTHING_ASKED} Check which VM holds the address."
        )

    async def _read(self) -> None:
        name, self._epoch = self._machine.name, 0
        try:
            text = await self._machines.published(self._machine, PUBLICATION)
        except Transient as error:
            self._doubt = f"what {name} has published cannot be read: {error}"
            return
        if text is None:
            self._doubt = (
                f"{name} has published no certificate by which to know its agent. Has the VM "
                "enable-guest-attributes=TRUE in its metadata?"
            )
            return
        try:
            publication = Publication.model_validate_json(text)
            context, audience = trusting(publication.certificate), publication.audience
        except ValueError:
            self._doubt = f"what {name} has published in the place of a certificate is none."
            return
        self._epoch = publication.epoch
        self._doubt = (
            f"does not have the key of the certificate that {name} has published (in its boot {publication.boot_id}): "
            "another VM, somebody in between, or an agent of another boot."
        )
        if audience != self._audience:
            self._audience, self.context, self.proven = audience, context, None
