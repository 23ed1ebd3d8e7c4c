"""A wall of nftables between jobs and the metadata server, which hands the VM's service account to whoever asks.

It stands by the job's user. DNS and NTP, which Compute Engine serves at the same address, pass. Where it cannot be had,
nothing is run.
"""

import asyncio
import shutil
from dataclasses import dataclass

METADATA_HOST = "169.254.169.254"

_RULES = """
table inet mayfly
delete table inet mayfly
table inet mayfly {{
    chain of_jobs {{
        meta l4proto {{ tcp, udp }} th dport 53 ip daddr 169.254.169.254 accept
        meta l4proto {{ tcp, udp }} th dport 53 ip6 daddr fd20:ce::254 accept
        udp dport 123 ip daddr 169.254.169.254 accept
        meta l4proto tcp ip daddr 169.254.0.0/16 reject with tcp reset
        meta l4proto tcp ip6 daddr {{ fd20:ce::254, fe80::/10 }} reject with tcp reset
        ip daddr 169.254.0.0/16 reject
        ip6 daddr {{ fd20:ce::254, fe80::/10 }} reject
    }}
    chain output {{
        type filter hook output priority filter; policy accept;
        meta skuid {uid} jump of_jobs
    }}
}}
"""


class NoWall(OSError):
    """Jobs cannot be cut off from the metadata server."""


@dataclass(frozen=True)
class Wall:
    """Between the processes of this user and every link-local address."""

    uid: int

    async def stand(self) -> None:
        """Raise it, or raise it anew (a firewall that was reloaded has flushed it). Raises NoWall."""
        nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin")
        if nft is None:
            raise NoWall("jobs cannot be cut off from the metadata server: nft is not installed (package nftables)")
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            nft, "-f", "-", stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await child.communicate(_RULES.format(uid=self.uid).encode())
        if child.returncode:
            why = said.decode(errors="replace").strip().partition("\n")[0]
            raise NoWall(f"jobs cannot be cut off from the metadata server: nft: {why}")
