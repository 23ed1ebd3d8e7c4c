"""Whether all is at rest: nothing on that nobody uses, no lease left behind, nothing that only costs."""

from dataclasses import replace

from mayfly.doctor.findings import Finding, Level, NotLooked, Trouble, check, well
from mayfly.doctor.patient import Patient
from orchestrator.abandoned import Judgement, at_first_sight, judge, unused
from orchestrator.seen import OUR_LABEL, Listed, Machine
from orchestrator.swept import Standing

ON = Trouble(
    Level.FAIL,
    "{why}",
    "Stop it, unless you are at work on it.",
    "gcloud compute instances stop {instance} --zone {zone} --project {project}",
)
LEFT = Trouble(
    Level.FAIL,
    "{why} Nobody renews that lease, so what it stands for is over, or goes on unseen.",
    "Have a sweep finish it: it stops what is on, and gives the lease back.",
    "mayfly sweep --zone {zone}",
)
SUSPENDED = Trouble(
    Level.FAIL,
    "{why}",
    "Resume it, then stop it: neither a run nor a sweep can.",
    "gcloud compute instances resume {instance} --zone {zone} --project {project} && "
    "gcloud compute instances stop {instance} --zone {zone} --project {project}",
)
ORPHAN = Trouble(
    Level.FAIL,
    "Another VM of ours, {vm} in {place}: {why}",
    "Look at it, then stop it, or have a sweep do so where a run left it.",
    "mayfly sweep --zone {place} || gcloud compute instances stop {vm} --zone {place} --project {project}",
)
IDLE_ADDRESS = Trouble(
    Level.WARN,
    "The address {name} in {place}: {why}",
    "Release it, if nobody needs it.",
    "gcloud compute addresses delete {name} --region {place} --project {project}",
)
_TROUBLES = {Standing.ON_BY_HAND: ON, Standing.STUCK: SUSPENDED, Standing.ABANDONED: LEFT}


@check("vm-at-rest", ON, LEFT, SUSPENDED)
async def at_rest(patient: Patient) -> list[Finding]:
    """The VM is off, or a run that is live uses it."""
    machine = await patient.machine()
    if machine.gone:
        return well("There is none now; it is made for each run.")
    judged = _judged(machine, patient)
    if (trouble := _TROUBLES.get(judged.standing)) is not None:
        return [trouble.found(patient.names, why=judged.why)]
    return well(judged.why)


@check("orphans", ORPHAN, IDLE_ADDRESS)
async def orphans(patient: Patient) -> list[Finding]:
    """No other VM of ours is on or owed, and no address of ours only costs."""
    vms, addresses = await patient.machines(), await patient.addresses()
    if unseen := sorted({*vms.unseen, *addresses.unseen}):
        raise NotLooked(f"Google could not look into {', '.join(unseen)}.")
    found = [
        ORPHAN.found(patient.names, vm=one.thing.name, place=one.place, why=judged.why)
        for one in vms.found
        if not _is_own(one, patient) and (judged := at_first_sight(one.thing, patient.policy)).standing in _TROUBLES
    ]
    for address in addresses.found:
        own = (address.thing.name, address.place) == (patient.settings.static_name, patient.settings.region)
        told = None if own else unused(address, patient.clock.now(), patient.policy)
        if told is not None and told.standing is not Standing.HELD:
            found.append(IDLE_ADDRESS.found(patient.names, name=told.name, place=told.place, why=told.why))
    return found or well(f"{len(vms.found)} VMs and {len(addresses.found)} addresses are ours, and none idles.")


def _judged(machine: Machine, patient: Patient) -> Judgement:
    """As a sweep would, also if it lacks our label: another check tells of that."""
    return judge(replace(machine, labels={**machine.labels, **dict([OUR_LABEL])}), patient.policy)


def _is_own(one: Listed[Machine], patient: Patient) -> bool:
    return (one.thing.name, one.place) == (patient.settings.instance, patient.settings.zone)
