"""Failed attempts: bounded for each address, told without a flood, and nobody who is right is locked out."""

import pytest

from vm_agent import policy
from vm_agent.attempts import Attempts
from vm_agent.problems import TooManyAttempts


class Agent:
    """The attempts at one, on a clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 5000.0
        self.attempts = Attempts(lambda: self.seconds)

    def exhaust(self, address: str = "attacker") -> int:
        """Guess until nothing is checked any more; how many were."""
        for guess in range(1000):
            try:
                self.attempts.begin(address, f"guess {guess}")
            except TooManyAttempts:
                return guess
            self.attempts.failed(f"guess {guess}")
        raise AssertionError("no end to it")


@pytest.fixture
def agent() -> Agent:
    return Agent()


def test_so_many_may_fail_at_once_and_so_many_in_a_second(agent: Agent):
    assert agent.exhaust() == policy.ATTEMPTS_AT_ONCE
    agent.seconds += 1
    assert agent.exhaust() == policy.ATTEMPTS_PER_SECOND
    agent.seconds += 3600
    assert agent.exhaust() == policy.ATTEMPTS_AT_ONCE


def test_a_refusal_says_when_to_come_again(agent: Agent):
    agent.exhaust()
    with pytest.raises(TooManyAttempts) as refused:
        agent.attempts.begin("attacker", "x")
    assert refused.value.headers == {"Retry-After": "1"}
    agent.seconds += 1
    agent.attempts.begin("attacker", "x")


def test_other_addresses_have_their_own(agent: Agent):
    agent.exhaust()
    assert agent.exhaust("somebody else") == policy.ATTEMPTS_AT_ONCE


def test_who_has_a_whole_network_of_ipv6_has_one_account(agent: Agent):
    agent.exhaust("2001:db8::1")
    assert agent.exhaust("2001:db8::2") == 0
    assert agent.exhaust("2001:db8:0:1::1") == policy.ATTEMPTS_AT_ONCE


def test_success_costs_nothing(agent: Agent):
    for _ in range(10 * policy.ATTEMPTS_AT_ONCE):
        agent.attempts.begin("orchestrator", "right")
        agent.attempts.held("orchestrator", "right")
    assert agent.exhaust("orchestrator") == policy.ATTEMPTS_AT_ONCE


def test_what_cannot_be_told_costs_nothing(agent: Agent):
    for _ in range(10 * policy.ATTEMPTS_AT_ONCE):
        agent.attempts.begin("orchestrator", "right")
        agent.attempts.undecided("orchestrator")
    assert agent.exhaust("orchestrator") == policy.ATTEMPTS_AT_ONCE


def test_attempts_that_are_all_begun_at_once_are_counted_all_the_same(agent: Agent):
    for guess in range(policy.ATTEMPTS_AT_ONCE):
        agent.attempts.begin("attacker", str(guess))
    with pytest.raises(TooManyAttempts):
        agent.attempts.begin("attacker", "one more")


def test_who_proved_it_once_is_not_held_up_by_what_others_at_the_same_address_try(agent: Agent):
    agent.attempts.begin("nat", "right")
    agent.attempts.held("nat", "right")
    agent.exhaust("nat")
    agent.attempts.begin("nat", "right")
    with pytest.raises(TooManyAttempts):
        agent.attempts.begin("nat", "wrong")


def test_a_proof_that_holds_no_more_is_let_through_no_more(agent: Agent):
    agent.attempts.begin("nat", "old")
    agent.attempts.held("nat", "old")
    agent.exhaust("nat")
    agent.attempts.failed("old")
    with pytest.raises(TooManyAttempts):
        agent.attempts.begin("nat", "old")


def test_only_so_many_addresses_and_proofs_are_remembered(agent: Agent):
    agent.attempts.held("orchestrator", "first")
    for number in range(3 * policy.ADDRESSES_REMEMBERED):
        agent.attempts.begin(f"address {number}", "x")
        agent.attempts.held(f"address {number}", f"proof {number}")
    assert len(agent.attempts._addresses._kept) == policy.ADDRESSES_REMEMBERED
    assert len(agent.attempts._held) == policy.PROOFS_REMEMBERED


def test_the_log_gets_a_few_lines_at_once_and_then_one_that_stands_for_many(agent: Agent):
    told = [agent.attempts.to_tell("attacker") for _ in range(1000)]
    assert told == [1] * policy.ATTEMPT_LINES_AT_ONCE + [None] * (1000 - policy.ATTEMPT_LINES_AT_ONCE)
    assert agent.attempts.to_tell("operator") == 1, "others are still told of"
    agent.seconds += 31
    assert agent.attempts.to_tell("attacker") == 1001 - policy.ATTEMPT_LINES_AT_ONCE
