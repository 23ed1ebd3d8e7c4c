"""Who may import, call and know what. The rules are the tables below; the rest reads them.

So *who can spend money?* has one answer (moves), *when?* one (ladder), *how long?* one (policy), *what went wrong?* one
(errors). A rule that is in the way is changed here, in a commit that says why, and in CONTRIBUTING.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("orchestrator", "vm_agent", "gcp_emulator", "mayfly")
WIRE = "vm_agent.protocol"  # what agent and orchestrator say to each other
SIGNED = "vm_agent.signed"  # both check what Google has signed for the other: one judge, lest one be the milder
ALONE = ("vm_agent/protocol.py", "vm_agent/signed.py")

# The arrows between packages.
ARROWS = {
    "orchestrator": ("orchestrator", WIRE, SIGNED),
    "vm_agent": ("vm_agent",),
    "gcp_emulator": ("gcp_emulator",),
    "mayfly": PACKAGES,
}

# The layers of the orchestrator. A file in none of them is a verb: it sees everything but adaptors and edges.
NOUNS = ("errors", "run", "seen", "attested", "policy", "lease", "events", "swept", "spans", "names")
JUDGEMENT = ("ladder", "goal", "claims", "keys", "placement", "abandoned", "notice")
PORTS = ("ports",)
ADAPTORS = ("google_*", "agent_*", "secrets", "patience", "clock", "threads", "notify")
EDGES = ("settings*", "sweep_settings", "telemetry", "wiring", "fleet", "credentials", "agents")
SEES = {
    NOUNS: NOUNS,
    JUDGEMENT: NOUNS + JUDGEMENT,
    PORTS: NOUNS + PORTS,
    ADAPTORS: NOUNS + PORTS + ADAPTORS,
}

# Who speaks HTTP and shows who we are.
SPEAK_TO_AGENTS = ("orchestrator/agent_[acl]*.py", "vm_agent/gateway*", "mayfly/*")

# Each foreign library has its border posts; nobody else imports it. (module, where)
BORDERS = (
    ("google", ("orchestrator/google_*.py", "orchestrator/secrets.py")),
    # A chat's webhook, Google's public keys, an emulator's metadata server: no agent, and no key of ours.
    (
        "httpx",
        (*SPEAK_TO_AGENTS, "orchestrator/notify.py", "orchestrator/google_*.py", "vm_agent/google_keys.py", "mayfly/*"),
    ),
    ("tenacity", ("orchestrator/patience.py",)),
    ("jwt", ("vm_agent/signed.py", "gcp_emulator/identity.py")),  # who checks, and the Google that signs
    ("ccxt", ("vm_agent/jobs/trade/binance.py",)),
    ("docker", ("vm_agent/containers/engine.py",)),
    ("requests", ("vm_agent/containers/engine.py",)),  # what Docker's client lets through of its own
)

# What only one file of the orchestrator may touch. (full name, the file, what the others do instead)
PRIVILEGES = (
    ("os.environ*", "settings", "make it a setting"),
    ("os.getenv*", "settings", "make it a setting"),
    ("os.putenv", "settings", "make it a setting"),
    ("asyncio.sleep", "clock", "call `clock.sleep`: time is an argument"),
    ("time.*", "clock", "call `clock.now` or `clock.monotonic`: time is an argument"),
    ("datetime.datetime.now", "clock", "call `clock.now`: time is an argument"),
    ("datetime.datetime.utcnow", "clock", "call `clock.now`: time is an argument"),
    ("datetime.datetime.today", "clock", "call `clock.now`: time is an argument"),
    ("datetime.date.today", "clock", "call `clock.now`: time is an argument"),
)

# The calls that change the cloud, and the only verbs that make them. (end of the called name, who)
SPENDING = (
    ("machines.start", ("moves",)),
    ("machines.stop", ("moves",)),
    ("machines.arm", ("moves",)),
    ("creation.create", ("moves",)),
    ("creation.delete", ("moves",)),
    ("addresses.reserve", ("moves",)),
    ("addresses.release", ("moves",)),
    ("addresses.attach", ("moves",)),
    ("addresses.detach", ("moves",)),
    ("leases.write", ("lease_keeper",)),
)

# Judgement is plain functions of facts: none of these modules, and nothing that waits.
IMPURE = ("asyncio", "logging", "time", "random", "os", "threading", "subprocess", "socket")
WAITING = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)

EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "base", "handler", "handlers"}
FILE_LINES_MAX = 300
PORT_VERBS_MAX = 6


@dataclass(frozen=True)
class File:
    """One module: its path in the repository (`orchestrator/moves.py`) and its text."""

    path: str
    text: str

    @property
    def package(self) -> str:
        return self.path.partition("/")[0]

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def stem(self) -> str:
        """The name that the tables use: `moves`."""
        return self.module.rpartition(".")[2]

    def of_the_orchestrator(self, layer: tuple[str, ...]) -> bool:
        return self.package == "orchestrator" and belongs(self.stem, layer)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """(line, full name) of everything imported, anywhere in the file."""
        return [(line, name) for line, name, _, _ in self._imported()]

    @cached_property
    def names(self) -> list[tuple[int, str]]:
        """(line, full name) of every name and attribute, as imports make it known: `t.sleep` is `time.sleep`."""
        known = {local: meant for _, _, local, meant in self._imported()}
        nodes = (node for node in ast.walk(self.tree) if isinstance(node, ast.Name | ast.Attribute))
        return [(node.lineno, full_name(node, lambda name: known.get(name, f"local {name}"))) for node in nodes]

    def _imported(self) -> Iterator[tuple[int, str, str, str]]:
        """(line, full name, the name it is bound to here, what that name means)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    yield node.lineno, alias.name, alias.asname or top, alias.name if alias.asname else top
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    name = f"{self._origin(node)}.{alias.name}"
                    yield node.lineno, name, alias.asname or alias.name, name

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.module if self.path.endswith("/__init__.py") else self.module.rpartition(".")[0]
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        return ".".join([*above, *([node.module] if node.module else [])])


def belongs(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def full_name(node: ast.expr, meaning: Callable[[str], str] = str) -> str:
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, meaning)}.{node.attr}"
    return meaning(node.id) if isinstance(node, ast.Name) else ""


Found = Iterator[tuple[int, str]]  # line, and what to do


def arrows(file: File) -> Found:
    for line, name in file.imports:
        ours = name.partition(".")[0] in PACKAGES
        if ours and file.path in ALONE:
            yield line, f"imports {name}: what both sides share stands alone; move the import to whoever uses it"
        elif ours and not any(within(name, allowed) for allowed in ARROWS[file.package]):
            yield line, f"imports {name}: {file.package} may import {' and '.join(ARROWS[file.package])}, nothing else"


def layers(file: File) -> Found:
    if file.package != "orchestrator" or file.stem == "orchestrator" or belongs(file.stem, EDGES):
        return
    sees = next((seen for layer, seen in SEES.items() if belongs(file.stem, layer)), None)
    for line, name in file.imports:
        if not name.startswith("orchestrator."):
            continue
        stem = name.split(".")[1]
        if sees is None and belongs(stem, ADAPTORS + EDGES):
            yield line, f"imports {name}: verbs see ports, never an adaptor or an edge; take it through `World`"
        elif sees is not None and not belongs(stem, sees):
            yield line, f"imports {name}: {file.stem} sees {', '.join(sees)}, nothing else; move the code or the value"


def borders(file: File) -> Found:
    for line, name in file.imports:
        for module, posts in BORDERS:
            if within(name, module) and not belongs(file.path, posts):
                yield line, f"imports {name}: {module} stays behind {', '.join(posts)}; call one of these"


def privileges(file: File) -> Found:
    if file.package != "orchestrator":
        return
    for line, name in sorted({*file.imports, *file.names}):
        for pattern, owner, instead in PRIVILEGES:
            if fnmatchcase(name, pattern) and file.stem != owner:
                yield line, f"uses {name}: only {owner}.py does; {instead}"


def spending(file: File) -> Found:
    if file.package not in {"orchestrator", "mayfly"} or file.of_the_orchestrator(ADAPTORS):
        return
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.Call):
            continue
        for verb, owners in SPENDING:
            if f".{full_name(node.func)}".endswith(f".{verb}") and not file.of_the_orchestrator(owners):
                yield node.lineno, f"calls {verb}: only {' and '.join(owners)} may; make it a move"


def judgement(file: File) -> Found:
    if not file.of_the_orchestrator(JUDGEMENT):
        return
    for line, name in file.imports:
        if any(within(name, module) for module in IMPURE):
            yield line, f"imports {name}: judgement is pure; take the fact as an argument, return what to do"
    for node in ast.walk(file.tree):
        if isinstance(node, WAITING) or (isinstance(node, ast.comprehension) and node.is_async):
            yield getattr(node, "lineno", 1), "waits: judgement is pure; let a verb await and hand over the fact"


def sizes(file: File) -> Found:
    lines = file.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield lines, f"has {lines} lines: above {FILE_LINES_MAX} it tells two stories; make it two files"
    if file.stem in EMPTY_NAMES:
        yield 1, f"is called {file.stem}, which says nothing: name it after what it does"


def ports(file: File) -> Found:
    if not file.of_the_orchestrator(PORTS):
        return
    for node in file.tree.body:
        if isinstance(node, ast.ClassDef):
            verbs = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
            if len(verbs) > PORT_VERBS_MAX:
                yield node.lineno, f"{node.name} has {len(verbs)} verbs: above {PORT_VERBS_MAX} it is two ports"


RULES: tuple[Callable[[File], Found], ...] = (
    arrows, layers, borders, privileges, spending, judgement, sizes, ports,
)  # fmt: skip


def violations(file: File) -> list[str]:
    return [f"{file.path}:{line} {what}" for rule in RULES for line, what in rule(file)]


def files() -> list[File]:
    paths = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
    return [File(path.relative_to(REPOSITORY).as_posix(), path.read_text("utf-8")) for path in paths]
