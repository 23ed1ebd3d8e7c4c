"""One loop for every resource and both ways: look, act, look again, until nothing differs any more.

So a lost reply, a 409 of somebody who was quicker, and a deploy that died half-way are all the same: what is there is
looked at, and what is missing is done. What was done counts once it was seen.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from mayfly.deploy.apis import Apis, is_enabled
from mayfly.deploy.identities import ACCOUNT
from mayfly.deploy.plan import Action, Step, down, up
from mayfly.deploy.resource import Resource
from orchestrator.errors import AlreadyExists, Conflict, Exit, MayflyError, NoMachine, Transient
from orchestrator.google_admin import GoogleAdmin, Json
from orchestrator.patience import patiently
from orchestrator.policy import Patience, seconds
from orchestrator.ports import Clock
from orchestrator.together import together

# A new account, role or API is not known everywhere at once: Google says seconds, at times minutes.
SETTLING = Patience(200, timedelta(minutes=3), seconds(0.1), seconds(5))
_NOT_KNOWN_YET = (
    r"service ?accounts?\b.*(does not exist|not found|could not be found)|\brole\b.*(does not exist|not found)|"
    r"has not been used in project|SERVICE_DISABLED|Permission denied on secret"
)
# Of an account that we have just made these mean the same; of any other, that we lack the permission.
_NEW_ACCOUNTS = rf"{_NOT_KNOWN_YET}|serviceaccounts\.actAs|does not have access to service account"
Judge = Callable[[Resource, Json | None], Step]
# What is done now, its number, how many there are; and again with the reason, if it has to be waited for.
Tell = Callable[[Step, int, int, str], None]


class StepFailed(MayflyError):
    """One step did not come about; those before it did, and stay."""

    def __init__(self, sentence: str, exit_code: Exit) -> None:
        super().__init__(sentence)
        self.exit = exit_code


async def plan_of(google: GoogleAdmin, project: str, resources: Sequence[Resource], judge: Judge = up) -> list[Step]:
    """What would be done. Nothing is changed; what an API that is not enabled would hold is not there."""
    apis = await Apis(project).look(google) or {}
    enabled = apis.get("enabled", [])

    async def look(resource: Resource) -> Json | None:
        return await resource.look(google) if is_enabled(resource.service, enabled) else None

    seen = await together(*map(look, resources))
    return [judge(resource, one) for resource, one in zip(resources, seen, strict=True)]


async def bring_about(
    google: GoogleAdmin, clock: Clock, resources: Sequence[Resource], planned: Sequence[Step], tell: Tell
) -> None:
    """Carry the plan out, in its order. StepFailed."""
    work = [(one, step) for one, step in zip(resources, planned, strict=True) if step.does_something]
    new_accounts = any((step.kind, step.action) == (ACCOUNT, Action.MAKE) for _, step in work)
    lags = re.compile(_NEW_ACCOUNTS if new_accounts else _NOT_KNOWN_YET, re.IGNORECASE)
    for number, (resource, step) in enumerate(work, 1):
        told = partial(tell, step, number, len(work))
        told("")
        judge = down if step.action is Action.REMOVE else up
        try:
            await _settle(google, clock, resource, judge, _Words(lags, told))
        except MayflyError as error:
            failed = f"Step {number} of {len(work)} failed ({step}): {error}"
            mend = "What was done before it stays. Mend this, and do the same again: it goes on from there."
            raise StepFailed(f"{failed}\n{mend}", error.exit) from error


async def _settle(google: GoogleAdmin, clock: Clock, resource: Resource, judge: Judge, words: "_Words") -> None:
    async def through() -> None:
        seen = await resource.look(google)
        step = judge(resource, seen)
        while step.does_something:
            await _act(google, resource, step, seen)
            seen = await resource.look(google)
            before, step = step, judge(resource, seen)
            if step == before:  # no step further: give it time
                raise Transient(f"it does not show: {step}{''.join(f', {found}' for found in step.differences)}")

    async def with_a_word() -> None:
        try:
            with _what_passes(words.lags):
                await through()
        except Transient as lag:
            words.once(str(lag))
            raise

    await patiently(with_a_word, SETTLING, clock)


@dataclass
class _Words:
    """Which of Google's mean that it is only slow; and what is told about that, once."""

    lags: re.Pattern[str]
    tell: Callable[[str], None]
    told: bool = False

    def once(self, why: str) -> None:
        if not self.told:
            self.told = True
            self.tell(why)


@contextmanager
def _what_passes(lags: re.Pattern[str]) -> Iterator[None]:
    """What a look or an act meets, and will not for long, is Transient. An API is enabled before it answers a look."""
    try:
        yield
    except (AlreadyExists, Conflict) as raced:  # somebody was quicker, or the reply to an earlier try was lost
        raise Transient(str(raced)) from raced
    except NoMachine as refused:
        if lags.search(str(refused)):
            raise Transient(str(refused)) from refused
        raise


async def _act(google: GoogleAdmin, resource: Resource, step: Step, seen: Json | None) -> None:
    if step.action is Action.MAKE:
        await resource.make(google)
    elif seen is not None and step.action is Action.CHANGE:
        await resource.change(google, seen, list(step.differences))
    elif seen is not None:
        await resource.remove(google, seen)
