"""The wall between containers and the metadata server, which gives the VM's own tokens to whoever asks.

Containers that may not pass it get a bridge network of their own, and what comes from that bridge for a link-local
address is dropped before anything else looks at it, save DNS, which Compute Engine serves from the same address. The
rules are read back before each run: where they cannot be had, nothing runs.
"""

import subprocess

from vm_agent.containers.engine import Engine
from vm_agent.containers.errors import NotRun

NETWORK = "mayfly"  # without IPv6, so the metadata server's other address has no way there
BRIDGE = "mayfly0"

_OPTIONS = {
    "com.docker.network.bridge.name": BRIDGE,
    "com.docker.network.bridge.enable_icc": "false",  # one run has nothing to say to another's
}
# Each is put before those that were there: the drop comes first, so a half-built wall has no gap.
_RULES = (
    ("-j", "DROP"),
    ("-p", "tcp", "--dport", "53", "-j", "ACCEPT"),
    ("-p", "udp", "--dport", "53", "-j", "ACCEPT"),
)
_LET_OUT = "MAYFLY_CONTAINER_NETWORK=off needs no wall; MAYFLY_JOB_METADATA=allow takes it down"


def walled_network(engine: Engine) -> str:
    """The name of a network from which the metadata server cannot be reached. NotRun: there can be none here."""
    found = engine.network(NETWORK, _OPTIONS)
    if found["Driver"] != "bridge" or found["Options"] != _OPTIONS or found["EnableIPv6"]:
        raise NotRun(f"the Docker network {NETWORK!r} is not as Mayfly makes it: docker network rm {NETWORK}")
    for rule in _RULES:
        if not _iptables("-C", rule):
            _iptables("-I", rule)
    if not all(_iptables("-C", rule) for rule in _RULES):
        raise NotRun(_refusal("the rules do not stay"))
    return NETWORK


def _iptables(verb: str, rule: tuple[str, ...]) -> bool:
    """Whether it said yes. The table `raw` is asked first and is nobody else's: Docker rewrites `filter`."""
    words = ["iptables", "-w", "-t", "raw", verb, "PREROUTING", "-i", BRIDGE, "-d", "169.254.0.0/16", *rule]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as problem:
        raise NotRun(_refusal(f"iptables: {problem.strerror}")) from problem
    if verb != "-C" and done.returncode:
        raise NotRun(_refusal(done.stderr.strip()))
    return done.returncode == 0


def _refusal(why: str) -> str:
    return f"the metadata server cannot be kept out of the container's reach ({why}). {_LET_OUT}"
