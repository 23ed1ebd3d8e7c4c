"""From the config to everything that shall be there, in the order in which it is made: each after what it needs."""

from collections.abc import Iterator, Mapping

from mayfly.deploy import roles
from mayfly.deploy.apis import Apis
from mayfly.deploy.config import Config
from mayfly.deploy.identities import email_of, role, service_account
from mayfly.deploy.instance import Instance
from mayfly.deploy.marks import LABELS, described
from mayfly.deploy.network import address, firewall
from mayfly.deploy.places import SCHEDULER, SWEEPER, schedulers_purpose, sweepers_purpose
from mayfly.deploy.policies import Grant, Grants
from mayfly.deploy.resource import Item, Resource
from mayfly.deploy.run_jobs import collection, run_job, secret_of, sweep_job
from mayfly.deploy.schedules import entry, overrides, sweep_entry
from mayfly.deploy.secret_items import SecretValue, secret
from mayfly.deploy.startup import startup_script
from mayfly.deploy.template import bucket, template
from mayfly.deploy.vm_body import orchestrator_email, sweeper_email, vm_email
from orchestrator.google_admin import Service
from orchestrator.lease import AddressPolicy
from orchestrator.settings import Auth

REPOSITORY = "mayfly"
IMAGES = "the orchestrator's images, and the jobs'"  # cloudbuild.yaml says it too, for it may be there first
_ACT_AS, _PULL = "roles/iam.serviceAccountUser", "roles/artifactregistry.reader"
_READ_SECRET = "roles/secretmanager.secretAccessor"  # noqa: S105 - a role
_TICK, _TICK_WITH_WORDS = "roles/run.invoker", "roles/run.jobsExecutorWithOverrides"


class Wanted:
    """What a config means. `image`: by digest, or None while there is none; `values`: what secrets are filled with."""

    def __init__(self, config: Config, image: str | None, values: Mapping[str, bytes] | None = None) -> None:
        self._config, self._image, self._values = config, image, values or {}
        self._project = config.project
        self._orchestrator, self._vm = orchestrator_email(config), vm_email(config)
        self._sweeper = sweeper_email(config)
        self._scheduler = email_of(config.project, SCHEDULER)

    def resources(self) -> list[Resource]:
        """All of it."""
        return [
            Apis(self._project),
            self.repository(),
            *self._accounts(),
            *self._roles(),
            *self._grants(),
            *self._secrets(),
            *(self._sweeper_of(self._image) if self._image and self._config.sweep.enabled else ()),
            *self._machine(),
            firewall(self._config),
            *(self._jobs(self._image) if self._image else ()),
        ]

    def repository(self) -> Item:
        """Where the images go."""
        return Item(
            kind="Artifact Registry repository",
            name=REPOSITORY,
            service=Service.REGISTRY,
            collection=f"projects/{self._project}/locations/{self._config.job_region}/repositories",
            wanted={"description": described(IMAGES), "labels": LABELS},
            born_with={"format": "DOCKER"},
            named_by="repositoryId",
        )

    def _accounts(self) -> Iterator[Resource]:
        if self._config.job.service_account is None:
            yield service_account(self._project, "mayfly-orchestrator", "carries runs out")
        yield service_account(self._project, SWEEPER, sweepers_purpose(self._config))
        yield service_account(self._project, SCHEDULER, schedulers_purpose(self._config))
        if self._config.vm.service_account is None:
            yield service_account(self._project, "mayfly-vm", "the VM that jobs run on")

    def _roles(self) -> Iterator[Resource]:
        if self._config.job.service_account is None:
            yield role(self._project, "mayflyOrchestrator", "carries runs out", self._orchestrators_permissions())
        yield role(self._project, "mayflySweeper", "finishes what dead runs left", roles.SWEEPER)
        if self._config.settings.template:
            yield role(self._project, "mayflyState", "keeps leases in the bucket of STATE_URL", roles.STATE)

    def _orchestrators_permissions(self) -> list[str]:
        own = self._config.settings
        permissions = roles.ORCHESTRATOR_TEMPLATE if own.template else roles.ORCHESTRATOR
        return [*permissions, *(roles.RELEASE if own.address_policy is AddressPolicy.RELEASE else ())]

    def _grants(self) -> Iterator[Resource]:
        """On the project; and that both may act as the VM's account, on it alone."""
        own = self._config.job.service_account is None
        granted = [Grant(self._role("mayflySweeper"), self._sweeper)]
        if own:
            granted.append(Grant(self._role("mayflyOrchestrator"), self._orchestrator))
        yield Grants(Service.PROJECTS, f"projects/{self._project}", "the project", tuple(granted))
        acting = [Grant(_ACT_AS, who) for who in self._ours()]
        path = f"projects/{self._project}/serviceAccounts/{self._vm}"
        yield Grants(Service.IAM, path, f"the account {self._vm}", tuple(acting))
        if self._pulls_images:
            repository = self.repository()
            yield Grants(Service.REGISTRY, repository.path, f"the repository {REPOSITORY}", (Grant(_PULL, self._vm),))

    def _ours(self) -> list[str]:
        """Who touches VMs and leases; to an account of yours nothing is granted."""
        return [self._sweeper, *([self._orchestrator] if self._config.job.service_account is None else [])]

    @property
    def _pulls_images(self) -> bool:
        job = self._config.settings.mayfly_job or ""
        own = self._config.vm.service_account is None
        return own and ("containers" in self._config.vm.extras or job.startswith("image:"))

    def _role(self, identifier: str) -> str:
        return f"projects/{self._project}/roles/{identifier}"

    def _secrets(self) -> Iterator[Resource]:
        """Each with its readers, who are those that need it, and nobody else."""
        for name, readers in self.readers().items():
            yield secret(self._project, name)
            if name in self._values:
                yield SecretValue(self._project, name, self._values[name])
            granted = tuple(Grant(_READ_SECRET, who) for who in readers)
            no_more = tuple(Grant(_READ_SECRET, who) for who in self._made() if who not in readers)
            path = f"projects/{self._project}/secrets/{name}"
            yield Grants(Service.SECRETS, path, f"the secret {name}", granted, no_more)

    def _made(self) -> list[str]:
        """The accounts that a deploy makes, today or once. What one of yours may do is never ours to take away."""
        ours = [email_of(self._project, f"mayfly-{name}") for name in ("vm", "orchestrator", "sweeper")]
        yours = {self._config.vm.service_account, self._config.job.service_account}
        return [email for email in ours if email not in yours]

    def readers(self) -> dict[str, list[str]]:
        """The secrets of this project that the config names, and which of our accounts read each."""
        vm, job, own = self._config.vm, self._config.job, self._config.settings
        named = [(text, self._vm, vm.service_account) for text in vm.secrets.values()]
        for text in job.secrets.values():
            named += [(text, self._orchestrator, job.service_account), (text, self._sweeper, None)]
        if own.auth is Auth.API_KEY:
            named += [(own.agent_key_secret, self._vm, vm.service_account)]
            named += [(own.agent_key_secret, self._orchestrator, job.service_account)]
            named += [(own.agent_key_secret, self._sweeper, None)]
        found: dict[str, list[str]] = {}
        for text, reader, yours in named:
            name = secret_of(text)[0].removeprefix(f"projects/{self._project}/secrets/")
            if "/" not in name:  # of another project: not ours to make
                found.setdefault(name, []).extend([reader] * (yours is None and reader not in found.get(name, [])))
        return found

    def _machine(self) -> Iterator[Resource]:
        own, script = self._config.settings, startup_script()
        if own.static_name and own.address_policy is not AddressPolicy.RELEASE:
            yield address(self._config, own.static_name)
        if own.template and own.state_url:
            state = bucket(self._config, own.state_url)
            yield state
            granted = tuple(Grant(self._role("mayflyState"), who) for who in self._ours())
            yield Grants(Service.STORAGE, state.path, f"the bucket {state.name}", granted)
            yield template(self._config, own.template, script)
        else:
            yield Instance(self._config, script)

    def _sweeper_of(self, image: str) -> Iterator[Resource]:
        """Before there is anything that could be forgotten; and the other way round, until there no longer is."""
        sweeping = sweep_job(self._config, image, self._sweeper)
        yield sweeping
        yield self._invoker(sweeping, _TICK)
        yield sweep_entry(self._config, self._scheduler)

    def _jobs(self, image: str) -> Iterator[Resource]:
        config = self._config
        with_words = any(overrides(config, schedule) for schedule in config.schedules)
        job = run_job(config, image, self._orchestrator)
        yield job
        yield self._invoker(job, _TICK_WITH_WORDS if with_words else _TICK)
        for schedule in config.schedules:
            yield entry(config, schedule, self._scheduler)

    def _invoker(self, job: Item, granted: str) -> Grants:
        path = f"{collection(self._config)}/{job.name}"
        other = _TICK if granted == _TICK_WITH_WORDS else _TICK_WITH_WORDS
        ticks, no_more = (Grant(granted, self._scheduler),), (Grant(other, self._scheduler),)
        return Grants(Service.RUN, path, f"the job {job.name}", ticks, no_more)
