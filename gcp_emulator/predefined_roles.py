"""Google's own roles, as far as this emulator has what they are about: permissions, or patterns of them.

Taken from the public reference of roles. A role that nobody here grants is not here; a policy that names it is refused.
"""

import re
from collections.abc import Mapping, Sequence

# What an editor has not: who may do what, and the payloads of secrets.
_NOT_AN_EDITORS = (
    r"(?!.*\.setIamPolicy\Z)(?!secretmanager\.versions\.access\Z)(?!iam\.roles\.(?!get|list))"
    r"(?!iam\.serviceAccounts\.getAccessToken\Z)"
)
_SEE_PROJECTS = r"resourcemanager\.projects\.(get|list)"
_READS = r"[\w.]+\.(get\w*|list\w*|aggregatedList)"

_ROLES: Mapping[str, Sequence[str]] = {
    "roles/owner": (r".*",),
    "roles/editor": (rf"{_NOT_AN_EDITORS}.*",),
    "roles/viewer": (_READS,),
    "roles/browser": (r"resourcemanager\.projects\.(get|getIamPolicy|list)",),
    "roles/compute.admin": (r"compute\..*", _SEE_PROJECTS),
    "roles/compute.instanceAdmin.v1": (
        r"compute\.(instances|instanceTemplates|disks|zoneOperations|machineTypes|acceleratorTypes)\..*",
        r"compute\.(addresses|networks)\.(get|list|use)",
        r"compute\.subnetworks\.(get|list|use|useExternalIp)",
        r"compute\.(images|projects|zones|regions|regionOperations|globalOperations)\.(get|list)",
        _SEE_PROJECTS,
    ),
    "roles/compute.viewer": (r"compute\..*\.(get|list)", _SEE_PROJECTS),
    "roles/compute.securityAdmin": (r"compute\.firewalls\..*", r"compute\.networks\.(get|list|updatePolicy)"),
    "roles/iam.serviceAccountUser": (
        r"iam\.serviceAccounts\.(actAs|get|list)",
        _SEE_PROJECTS,
    ),
    "roles/iam.serviceAccountAdmin": (
        r"iam\.serviceAccounts\.(create|delete|disable|enable|get|getIamPolicy|list|setIamPolicy|undelete|update)",
        _SEE_PROJECTS,
    ),
    "roles/iam.roleAdmin": (r"iam\.roles\..*", r"resourcemanager\.projects\.(get|getIamPolicy)"),
    "roles/resourcemanager.projectIamAdmin": (r"resourcemanager\.projects\.(get|getIamPolicy|setIamPolicy)",),
    "roles/serviceusage.serviceUsageAdmin": (r"serviceusage\.(services|operations)\..*",),
    "roles/serviceusage.serviceUsageConsumer": (r"serviceusage\.services\.(get|list|use)",),
    "roles/secretmanager.admin": (r"secretmanager\..*",),
    "roles/secretmanager.secretAccessor": (
        r"secretmanager\.versions\.access",
        _SEE_PROJECTS,
    ),
    "roles/secretmanager.secretVersionAdder": (r"secretmanager\.versions\.add",),
    "roles/secretmanager.viewer": (r"secretmanager\.(secrets|versions)\.(get|getIamPolicy|list)",),
    "roles/artifactregistry.admin": (r"artifactregistry\..*",),
    "roles/artifactregistry.reader": (
        r"artifactregistry\.(repositories|packages|tags|versions|files|dockerimages|locations)\.(get|list)",
        r"artifactregistry\.repositories\.downloadArtifacts",
    ),
    "roles/artifactregistry.writer": (
        r"artifactregistry\.(repositories|packages|tags|versions|files|dockerimages|locations)\.(get|list)",
        r"artifactregistry\.repositories\.(down|up)loadArtifacts",
        r"artifactregistry\.tags\.(create|update)",
    ),
    "roles/run.admin": (r"run\..*",),
    "roles/run.developer": (r"run\.(jobs|executions|services|tasks|operations|revisions)\.(?!setIamPolicy).*",),
    "roles/run.invoker": (r"run\.(jobs\.run|routes\.invoke|instances\.invoke)",),
    "roles/run.jobsExecutor": (r"run\.jobs\.run", r"run\.executions\.cancel"),
    "roles/run.jobsExecutorWithOverrides": (r"run\.jobs\.run(WithOverrides)?", r"run\.executions\.cancel"),
    "roles/run.viewer": (r"run\..*\.(get|list|getIamPolicy)",),
    "roles/cloudscheduler.admin": (r"cloudscheduler\..*",),
    "roles/cloudscheduler.jobRunner": (r"cloudscheduler\.jobs\.run",),
    "roles/cloudscheduler.viewer": (r"cloudscheduler\.(jobs|locations)\.(get|list)",),
    "roles/logging.logWriter": (r"logging\.logEntries\.(create|route)",),
    "roles/logging.viewer": (r"logging\.(logEntries|logs|logServices)\.list",),
    "roles/monitoring.metricWriter": (r"monitoring\.(timeSeries\.create|metricDescriptors\.\w+)",),
    "roles/storage.admin": (r"storage\..*",),
    "roles/storage.objectAdmin": (r"storage\.objects\..*",),
    "roles/storage.objectUser": (r"storage\.objects\.(create|delete|get|list|update)",),
    "roles/storage.objectCreator": (r"storage\.objects\.create",),
    "roles/storage.objectViewer": (r"storage\.objects\.(get|list)",),
}
PREDEFINED: Mapping[str, Sequence[re.Pattern[str]]] = {
    role: tuple(re.compile(pattern) for pattern in patterns) for role, patterns in _ROLES.items()
}
