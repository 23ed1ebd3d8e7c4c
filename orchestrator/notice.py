"""Notices: what is worth waking somebody for, and in which words. Pure: who posts them, and how, is `notify`."""

from collections import Counter
from collections.abc import Iterable

from orchestrator.errors import Exit
from orchestrator.run import Receipt
from orchestrator.swept import Finding, Standing, SweepReceipt

_LOUD = {Exit.INTERRUPTED, Exit.CLEANUP_OWED}
_CONSOLE = "https://console.cloud.google.com/compute"
_CHARACTERS_MAX = 3500  # Google Chat takes 32,000 bytes, Slack 40,000 characters; nobody reads so much
_FINDINGS_MAX = 10


def notice_of_run(receipt: Receipt, sentence: str) -> str | None:
    """What to post about a run: only one that was cut off, or left something. `sentence`: how it ended, in a line."""
    if receipt.exit_code not in _LOUD:
        return None
    lines = [f"Mayfly, project {receipt.project}, run {receipt.run_key} (exit {receipt.exit_code}): {sentence}"]
    if receipt.exit_code == Exit.INTERRUPTED:
        lines.append("Whether the job did its work is not known; it was not run again.")
    if receipt.cleanup == "owed":
        where = f"{receipt.vm.instance} in {receipt.vm.zone}" if receipt.vm else "a VM"
        lines.append(f"May still be on, and cost money: {where}.")
    if receipt.vm is not None:
        lines.append(vm_page(receipt.project, receipt.vm.zone, receipt.vm.instance))
    else:
        lines.append(project_page(receipt.project))
    return _plain(lines)


def notice_of_bug(project: str, what: str, bug: Exception) -> str:
    """What to post when we ourselves broke down: exit 7, and nobody knows how the VM was left."""
    code, name = int(Exit.CLEANUP_OWED), type(bug).__name__
    title = f"Mayfly, project {project}, {what} (exit {code}): a bug in Mayfly ({name})."
    return _plain([title, "A VM may still be on, and cost money.", project_page(project)])


def notice_of_sweep(receipt: SweepReceipt) -> str | None:
    """What to post about a sweep: only one that had to act, or left something."""
    if receipt.dry_run or not (receipt.acted or receipt.owed):
        return None
    worth_a_line = [one for one in receipt.findings if one.owed or one.acted]
    lines = [f"Mayfly, project {receipt.project}: {sweep_sentence(receipt)}"]
    for finding in sorted(worth_a_line, key=lambda one: not one.owed)[:_FINDINGS_MAX]:
        lines.append(f"- {'OWED: ' if finding.owed else ''}{finding.name} in {finding.place}: {finding.why}")
        lines.append(f"  {vm_page(receipt.project, finding.place, finding.name)}")
    if len(worth_a_line) > _FINDINGS_MAX:
        lines.append(f"and {len(worth_a_line) - _FINDINGS_MAX} more")
    if not worth_a_line:
        lines.append(project_page(receipt.project))
    return _plain(lines)


def sweep_sentence(receipt: SweepReceipt) -> str:
    """A sweep in a line: how many VMs were what, and what is owed."""
    what = "Dry run of a sweep" if receipt.dry_run else "Sweep"
    counts = Counter(_word(finding) for finding in receipt.findings)
    told = ", ".join(f"{count} {word}" for word, count in counts.items()) or "nothing of ours found"
    words = [f"{what}{' (called off)' if receipt.called_off else ''}: {told}."]
    if receipt.owed and not receipt.dry_run:
        words.append(f"OWED, may still be on: {_names(one for one in receipt.findings if one.owed) or 'unknown'}.")
    words += [f"Not seen: {place}." for place in receipt.unseen]
    return " ".join(words)


def sweep_severity(receipt: SweepReceipt) -> str:
    """How loud a sweep's line is, as in Cloud Logging."""
    if receipt.owed and not receipt.dry_run:
        return "ERROR"
    loud = {Standing.ON_BY_HAND, Standing.ABANDONED, Standing.UNUSED}
    return "WARNING" if any(finding.standing in loud for finding in receipt.findings) else "INFO"


def vm_page(project: str, zone: str, instance: str) -> str:
    """The VM in the Cloud console."""
    return f"{_CONSOLE}/instancesDetail/zones/{zone}/instances/{instance}?project={project}"


def project_page(project: str) -> str:
    """All its VMs in the Cloud console."""
    return f"{_CONSOLE}/instances?project={project}"


def _word(finding: Finding) -> str:
    if finding.standing is Standing.ABANDONED and not finding.owed:
        return "put right"
    return str(finding.standing)


def _names(findings: Iterable[Finding]) -> str:
    return ", ".join(f"{one.name} in {one.place}" for one in findings)


def _plain(lines: list[str]) -> str:
    """Plain text. What a job says must call nobody: <!channel> would in Slack, <users/all> in Google Chat."""
    text = "\n".join(lines).replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}")
    text = text.replace(">", "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}")
    return text if len(text) <= _CHARACTERS_MAX else f"{text[:_CHARACTERS_MAX]}…"
