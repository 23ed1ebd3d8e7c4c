"""Words that callers and settings may say, and that would be commands if a shell ever read them."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.contract.agent_at_work import an_agent, at_work, result_of, start, write_main
from tests.contract.test_agent_callers import a_head, connected, serving

SCRIPT = (Path(__file__).parents[2] / "startup.sh").read_text().removesuffix("main\n")

HOSTILE = [
    "$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "| touch PWNED", "&& touch PWNED", "\n touch PWNED\n",
    "' ; touch PWNED ; '", '" ; touch PWNED ; "', "$IFS$9touch${IFS}PWNED", "../../../../etc/passwd", "-rf /", "--help",
    "%s%n%x", "{{7*7}}", "${jndi:ldap://x}", "\x1b]0;owned\x07", "\\", "é\u202e",
]  # fmt: skip


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return [word.replace("PWNED", str(tmp_path / "pwned")) for word in HOSTILE]


async def test_params_reach_a_function_and_a_command_word_for_word_and_no_shell(
    tmp_path: Path, words: list[str]
) -> None:
    write_main(tmp_path, "def run(context): return dict(context.params)")
    params = {word: word for word in words}
    echo = """
import json, os, sys
params = json.load(open(os.environ["MAYFLY_PARAMS"]))
json.dump([sys.argv[1:], params], open(os.environ["MAYFLY_RESULT"], "w"))
"""
    async with at_work(an_agent(tmp_path)) as client:
        function = await result_of(client, params=params)
        command = await result_of(client, job={"command": [sys.executable, "-c", echo, *words]}, params=params)
    assert function["result"] == params
    assert command["result"] == [words, params]
    assert not (tmp_path / "pwned").exists()


async def test_keys_jobs_and_ids_are_words_and_nothing_else(tmp_path: Path, words: list[str]) -> None:
    write_main(tmp_path, "def run(): return 1")
    async with at_work(an_agent(tmp_path)) as client:
        for word in words:
            plain = word.isascii() and word.isprintable()
            accepted = (
                await start(client, key=word)
                if plain
                else await client.post("/run", headers={b"Idempotency-Key": word.encode()})
            )
            assert accepted.status_code in ({200, 202, 409} if plain else {400}), word
            assert (await start(client, job={"function": word})).status_code == 400, word
            assert (await client.get(f"/runs/{quote(word, safe='')}")).status_code == 404, word
            assert (await client.get("/runs", params={"key": word})).status_code == 200, word
            program = await start(client, job={"command": [word]})
            assert program.status_code in {202, 409}, word
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("attribute", "setting"),
    [
        ("mayfly-job", "MAYFLY_JOB"), ("mayfly-port", "AGENT_PORT"), ("mayfly-hosts", "MAYFLY_HOSTS"),
        ("mayfly-silence-seconds", "MAYFLY_DEADMAN_SILENCE_SECONDS"), ("mayfly-egress-echo", "MAYFLY_EGRESS_ECHO"),
    ],
)  # fmt: skip
def test_attributes_of_the_vm_become_settings_word_for_word(
    tmp_path: Path, words: list[str], attribute: str, setting: str
) -> None:
    """As systemd reads the file: in double quotes newlines are kept; quotes and backslashes are escaped."""
    stand_in = f'attribute() {{ [[ $1 != {attribute} ]] || cat "{tmp_path}/value"; }}'
    script = f"{SCRIPT}\n{stand_in}\nown_settings"
    script = script.replace("readonly env_file=$root/etc/mayfly/agent.env", f"env_file={tmp_path}/agent.env")
    for word in words:
        (tmp_path / "value").write_text(word)
        (tmp_path / "agent.env.new").unlink(missing_ok=True)
        environment = {"PATH": "/usr/bin:/bin", "MAYFLY_ROOT": str(tmp_path)}
        subprocess.run(["bash", "-c", script], env=environment, check=True, capture_output=True)
        escaped = word.rstrip("\n").replace("\\", "\\\\").replace('"', '\\"')
        assert f'{setting}="{escaped}"\n' in (tmp_path / "agent.env.new").read_text(), word
    assert not (tmp_path / "pwned").exists()


# %2F is / once; %252F would be only for who decodes twice; the others are what somebody's decoder once took for ../
UPWARDS = [
    "../{file}", "..%2f{file}", "%2e%2e/{file}", "%2e%2e%2f{file}", "..%252f{file}", "%252e%252e%252f{file}",
    "..%5c{file}", "..\\{file}", "..%c0%af{file}", "%c0%ae%c0%ae/{file}", "..%ef%bc%8f{file}", "%u002e%u002e/{file}",
    "....//{file}", "..;/{file}", ".%00./{file}", "a%00/../{file}", "deep/../../{file}", "deep/%2e%2e/%2e%2e/{file}",
    "/{whole}", "//{whole}", "%2f{whole}", "file:{whole}", "{whole}%00.txt", "./{file}", "%2e/{file}",
    "up/{file}", "out", "out%2f", "loop/loop/loop", "deep/out",
]  # fmt: skip
LINKS = """
    import os
    def run(context):
        here = context.artifacts
        (here / "deep").mkdir()
        (here / "deep" / "mine").write_text("mine")
        os.symlink("..", here / "up")
        os.symlink("../secret", here / "out")
        os.symlink("../../secret", here / "deep" / "out")
        os.symlink(here, here / "loop")
        (here.parent / "secret").write_text("planted")
"""


@pytest.mark.parametrize("part", ["artifacts", "logs"])
async def test_no_way_of_writing_a_path_leads_out_of_a_runs_artifacts(tmp_path: Path, part: str) -> None:
    write_main(tmp_path, LINKS)
    agent = an_agent(tmp_path)
    async with serving(agent) as client:
        run = (await result_of(client))["id"]
        secret = agent.runs.folder_of(run) / "secret"
        assert secret.read_text() == "planted"
        for way in UPWARDS:
            path = way.format(file="secret", whole=secret)
            for url in (f"/runs/{run}/{part}/{path}", f"/runs/..%2f{run}/{part}/{path}", f"/runs/{path}/{part}"):
                status, body = await raw(client, url)
                assert status in {400, 404}, (url, status)
                assert b"planted" not in body, url
        listed = (await client.get(f"/runs/{run}/artifacts")).json()["artifacts"]
        assert [one["path"] for one in listed] == ["deep/mine"]
        assert (await raw(client, f"/runs/{run}/artifacts/deep%2fmine"))[1].endswith(b"mine")


async def raw(client: httpx.AsyncClient, path: str) -> tuple[int, bytes]:
    """As the wire has it: no client tidies the path up on the way."""
    reader, writer = await connected(client)
    writer.write(a_head(f"GET {path}", Connection="close"))
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1]), answer
