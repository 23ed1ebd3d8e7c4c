"""Whom we take for our agent."""

import pytest

from orchestrator.errors import WrongMachine
from orchestrator.look import is_ready
from tests.unit.orchestrator.sightings import a_machine
from vm_agent.protocol import Greeting


@pytest.mark.parametrize(
    ("status", "instance_id", "ready"),
    [("ok", "4711", True), ("starting", "4711", False), ("failed", "4711", False), ("ok", None, False)],
)
def test_an_agent_is_ready_when_it_says_so_and_knows_where_it_is(status, instance_id, ready):
    assert is_ready(Greeting(status=status, instance_id=instance_id), a_machine()) is ready


@pytest.mark.parametrize("status", ["ok", "starting", "failed"])
def test_an_agent_on_another_vm_is_never_asked_for_anything(status):
    with pytest.raises(WrongMachine, match="4712"):
        is_ready(Greeting(status=status, instance_id="4712"), a_machine())
