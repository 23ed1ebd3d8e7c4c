"""From a seed to who may do what, and to the images that are there."""

from gcp_emulator import artifact_registry, docker_images, policies, service_accounts
from gcp_emulator.seed import BadSeedError, ImageSeed, ProjectSeed, Seed, seed_caller
from gcp_emulator.service_usage import is_enabled
from gcp_emulator.world import World

VM_ROLES = ("roles/editor", "roles/secretmanager.secretAccessor")


def sow_accounts(world: World, seed: Seed) -> None:
    """Let every account be there that the seed speaks of, with the roles that it has."""
    for project in seed.projects:
        own = world.projects[project.id]
        if is_enabled(own, "compute"):
            service_accounts.add(world, own.id, own.service_account)
        for email in _accounts_named(project, seed):
            service_accounts.add(world, own.id, email)
        for role, members in _roles(project, seed, world).items():
            for who in members:
                policies.grant(world, f"projects/{project.id}", role, who)


def _accounts_named(project: ProjectSeed, seed: Seed) -> set[str]:
    members = [who for given in (project.policy or {}).values() for who in given]
    named = {seed_caller(seed), *(vm.service_account or "" for vm in seed.instances)}
    named |= {who.removeprefix("serviceAccount:") for who in members}
    for template in seed.templates:
        named |= {one.get("email", "") for one in template.properties.get("serviceAccounts") or []}
    return {email for email in named if email.endswith(f"@{project.id}.iam.gserviceaccount.com")}


def _roles(project: ProjectSeed, seed: Seed, world: World) -> dict[str, list[str]]:
    if project.policy is not None:
        return {role: list(members) for role, members in project.policy.items()}
    caller = policies.member(seed_caller(seed))
    mine = [email for email, account in world.accounts.items() if account.project == project.id]
    vms = [who for who in map(policies.member, mine) if who != caller]
    return {"roles/owner": [caller], **(dict.fromkeys(VM_ROLES, vms) if vms else {})}


def sow_image(world: World, seed: ImageSeed) -> None:
    """Push an image, into a repository that is made for it if there is none."""
    match = docker_images.URI.match(seed.uri)
    if match is None or match["project"] not in world.projects:
        raise BadSeedError(f"image {seed.uri}: it is not LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/NAME[:TAG]")
    project, location, name = match["project"], match["location"], match["repository"]
    repository = artifact_registry.Repository(project, location, name, world.now, world.now)
    world.repositories.setdefault(repository.key, repository)
    docker_images.push(world, seed.uri)
