#!/usr/bin/env bash
# Runs on every boot of a Mayfly VM, as root: dead-man, code, secrets, dependencies, agent. What an earlier boot did is kept.
#
# It needs bash, curl, the metadata server, and these attributes of the instance:
#   mayfly-source, mayfly-ref   git repository, and the commit or tag of it to run; none: the code is in the image already.
#                               No credentials in its URL: jobs read the metadata
#   mayfly-role=gateway         the VM passes requests on to a Cloud Run service (docs/gateway.md), and is never powered off
#   mayfly-gateway-upstream     for it: the service's URL; and these secrets: mayfly-gateway-keys (mayfly-gateway-keys),
#   mayfly-gateway-certificate, mayfly-gateway-certificate-key; "own" certificate: it makes and publishes one
#   mayfly-extras (agent)       extras of the project to install; "none" for a project without any
#   mayfly-auth (id-token)      how callers prove to the agent who they are: id-token, api-key or both
#   mayfly-callers              for id-token: emails of the service accounts that may call, commas between them
#   mayfly-agent-key (mayfly-agent-key)   for api-key: "secret[/version] ...", the secrets that each hold a valid key
#   mayfly-secrets              more secrets for the jobs' environment: "NAME=secret[/version] ..."
#   mayfly-port (8000), mayfly-job        for the agent
#   mayfly-job-user (mayfly-job)  the user that jobs are; made if it is not there. "root": they are what the agent is
#   mayfly-job-metadata=deny    jobs are cut off from the metadata server, and so from the VM's service account
#   mayfly-hosts                more names that the agent answers to, besides its own and any address
#   mayfly-egress-echo          a page that tells its caller's address: a static IP must show there, too
#   enable-guest-attributes=TRUE          the agent publishes its certificate there; without it no run finds it
#   mayfly-tls=off              plain HTTP, with no certificate: only where nobody but its callers can reach the agent
#   mayfly-require-gpu=1        no run before a GPU answers
#   mayfly-container-NAME       MAYFLY_CONTAINER_NAME for the agent: memory, cpus, pids, gpu, network, pull, env
#   mayfly-job-metadata         MAYFLY_JOB_METADATA for the agent
#   mayfly-boot-minutes (10)    without an agent by then, the VM powers itself off
#   mayfly-silence-seconds (180)  with nothing running, nobody calling and the lease unchanged for so long, too
#   mayfly-hold=<until>         somebody is at work here: no powering off until then (24 h at most)
# How far it came is told by the guest attribute mayfly/boot and on the serial console.
# MAYFLY_ROOT, MAYFLY_POWEROFF, MAYFLY_SUPERVISOR and GCE_METADATA_HOST stand in for a real machine's parts where it has none,
# SECRET_MANAGER_EMULATOR_HOST and MAYFLY_CERTS_URL for Google's.
set -Eeuo pipefail

readonly uv_version=0.13.8
readonly agent_seconds=120 # from its start to its first answer; imports are slow on a cold disk

root=${MAYFLY_ROOT:-}
readonly root=${root%/}
readonly code=$root/opt/mayfly/src venv=$root/opt/mayfly/venv own_uv=$root/opt/mayfly/uv
readonly env_file=$root/etc/mayfly/agent.env
readonly pulse=$root/run/mayfly/pulse
readonly errors=$root/run/mayfly-startup.stderr # of the command that runs now
readonly metadata=http://${GCE_METADATA_HOST:-169.254.169.254}/computeMetadata/v1
readonly secret_manager=${SECRET_MANAGER_EMULATOR_HOST:+http://$SECRET_MANAGER_EMULATOR_HOST}

role='' stage=deadman epoch=0 boot_id='' failed_command=''
export HOME=${HOME:-$root/root} GIT_TERMINAL_PROMPT=0 DEBIAN_FRONTEND=noninteractive

main() {
    trap 'fail $? "$BASH_COMMAND"' ERR
    arm_deadman
    mkdir -p "$root/run" "$root/opt/mayfly" "$root/etc/mayfly"
    : >"$errors"
    role=$(attribute mayfly-role)
    [[ -z $role || $role == gateway ]] || die "mayfly-role is '$role': it can be gateway, or not be there"
    [[ $role == gateway ]] || write_banner || true # no boot fails for that
    boot_id=$(cat "$root/proc/sys/kernel/random/boot_id")
    epoch=$(attribute mayfly-lease | sed -n 's/.*"epoch" *: *\([0-9][0-9]*\).*/\1/p')
    enter code fetch_code
    enter secrets write_environment
    enter dependencies install_dependencies
    enter agent start_agent
    report 'done'
}

enter() {
    stage=$1
    report starting
    "$2"
}

# ---- the dead-man: a process of its own, which needs nothing but bash, curl and sleep ----------------------

arm_deadman() {
    local script
    script="$(declare -f deadman take_pulse boot_seconds power_off held value)
        metadata=$metadata pulse=$(printf %q "$pulse"); deadman"
    if on_systemd; then
        systemctl stop mayfly-deadman.service 2>/dev/null || true # of an earlier run of this script
        systemd-run --quiet --collect --unit=mayfly-deadman --property=StandardOutput=journal+console \
            --property=Restart=always --property=RestartSec=5 --property=OOMScoreAdjust=-1000 \
            bash -c "${script//\$/\$\$}" # systemd would read ${...} as its own
    elif command -v setsid >/dev/null; then
        setsid bash -c "$script" </dev/null &
    else
        nohup bash -c "$script" </dev/null &
    fi
}

# It watches as long as the VM is on. Before the agent's first pulse, the boot may take its minutes.
deadman() {
    local minutes now off why role='' hold='' hold_since=0
    now=$(boot_seconds)
    role=$(value instance/attributes/mayfly-role)
    minutes=$(value instance/attributes/mayfly-boot-minutes)
    [[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || minutes=10
    off=$(awk "BEGIN { print int($now + 60 * $minutes) }")
    why="no agent $minutes minutes after the boot"
    while true; do
        take_pulse
        now=$(boot_seconds)
        if ((now < off)); then
            sleep $((off - now < 5 ? off - now : 5))
        elif held; then
            sleep 30
        else
            echo "mayfly: $why: powering off"
            power_off
            sleep 60 # still here? again
        fi
    done
}

# The agent has a dead-man of its own and leaves word, in vm_agent/pulse.py's form, when it would press the button. A
# little later we do, in case it is gone or hangs: but not while the keeper of a run that is inside its deadline lives.
take_pulse() {
    local one two run keeper margin=10 pattern='^off=([0-9]+) run=([0-9]+) keeper=([0-9]+) '
    { read -r one && read -r two; } 2>/dev/null <"$pulse" || return 0
    [[ $one == "$two" && $one =~ $pattern ]] || return 0 # it is being written: what was known before holds
    off=$((BASH_REMATCH[1] + margin)) run=$((BASH_REMATCH[2] + margin)) keeper=${BASH_REMATCH[3]}
    why='silence, and no run in progress, but the agent did nothing'
    if ((run > off)) && { ((keeper == 0)) || kill -0 "$keeper" 2>/dev/null; }; then
        off=$run why='the run did not end at its deadline, and the agent did nothing'
    fi
}

# The clock that the agent goes by, too: see vm_agent/clock.py.
boot_seconds() {
    local up
    if IFS=. read -r up _ 2>/dev/null </proc/uptime; then
        echo "$up"
    else
        date +%s
    fi
}

power_off() {
    if [[ -n ${MAYFLY_POWEROFF:-} ]]; then
        "$MAYFLY_POWEROFF"
    else
        systemctl poweroff || poweroff || systemctl poweroff --force --force
    fi
}

held() {
    local text until
    [[ $role == gateway ]] || role=$(value instance/attributes/mayfly-role)
    [[ $role != gateway ]] || return 0 # always on, also when the metadata server is silent later
    text=$(value instance/attributes/mayfly-hold)
    [[ $text == "$hold" ]] || hold=$text hold_since=$SECONDS
    until=$(date -d "$text" +%s 2>/dev/null) || return 1
    ((until > $(date +%s) && SECONDS - hold_since < 24 * 3600))
}

value() {
    curl -fs --max-time 5 --retry 2 --retry-delay 1 --retry-connrefused -H 'Metadata-Flavor: Google' "$metadata/$1" || true
}

# Who logs in shall know that this machine goes off by itself, and how to keep it on. Shown by pam_motd.
write_banner() {
    local name zone
    name=$(metadata instance/name)
    zone=$(metadata instance/zone)
    mkdir -p "$root/run/motd.d"
    cat >"$root/run/motd.d/mayfly" <<MOTD
Mayfly: this VM powers itself off when nobody uses it through Mayfly. At work here? This keeps it on, 24 h at most:
    gcloud compute instances add-metadata $name --zone=${zone##*/} --metadata=mayfly-hold=\$(date -ud '+2 hours' +%FT%TZ)
MOTD
}

# ---- code --------------------------------------------------------------------------------------------------

# A whole new folder takes the place of the old one: a boot that is cut off leaves no half checkout behind.
fetch_code() {
    local source ref
    source=$(attribute mayfly-source)
    ref=$(attribute mayfly-ref)
    if [[ -z $source ]]; then
        [[ -f $code/pyproject.toml ]] || die "no mayfly-source in the metadata, and no code in $code"
        return 0
    fi
    ! has_credentials "$source" || die 'mayfly-source has a name or password in its URL, which every job could read in' \
        'the metadata: take it out (and revoke it), and have private code in the image, or git credentials there'
    [[ -n $ref ]] || is_local "$source" || die "mayfly-source=$source needs mayfly-ref: a commit or a tag"
    if [[ -n $ref && -f $code/.git/mayfly-ref && $(<"$code/.git/mayfly-ref") == "$source $ref" ]]; then
        return 0
    fi
    command -v git >/dev/null || install_packages git
    rm -rf "$code.new"
    attempt git init --quiet "$code.new"
    chmod 0700 "$code.new/.git" # jobs read the code, and need not know where it is from
    if is_local "$source"; then
        git config --global --replace-all safe.directory "${source#file://}" # it may be another user's
    fi
    attempt_thrice git -C "$code.new" fetch --quiet --depth 1 --no-tags -- "$source" "${ref:-HEAD}"
    if grep -q $'\tbranch \'' "$code.new/.git/FETCH_HEAD"; then
        die "mayfly-ref=$ref is a branch, which changes: pin a commit or a tag"
    fi
    attempt git -C "$code.new" checkout --quiet --detach FETCH_HEAD
    echo "$source $ref" >"$code.new/.git/mayfly-ref"
    rm -rf "$code"
    mv "$code.new" "$code"
}

is_local() {
    [[ $1 == /* || $1 == file://* ]]
}

# ssh's "git@" is a name that everybody knows; over http even a name alone may be a token.
has_credentials() {
    [[ $1 =~ ^https?://[^/?#]*@ || $1 =~ ^[^/?#]+://[^/?#]*:[^/?#]*@ ]]
}

# ---- secrets: in shell variables and a 0600 file; never an argument of a program, never in a report --------

write_environment() {
    local token project list auth own=''
    token=$(metadata instance/service-accounts/default/token | json_string access_token)
    project=$(metadata project/project-id)
    list=$(attribute mayfly-secrets)
    auth=$(attribute mayfly-auth)
    [[ $role != gateway ]] || gateway_secrets
    (
        umask 077
        : >"$env_file.new"
        settings_from_secrets "$list $own"
        [[ $role == gateway ]] || who_may_call "${auth:-id-token}"
        own_settings
    ) # what comes last wins: no secret takes the name of a setting of ours
    mv "$env_file.new" "$env_file"
}

# Sets `own`, in the form of mayfly-secrets.
gateway_secrets() {
    local key name
    key=$(attribute mayfly-gateway-keys)
    own="MAYFLY_GATEWAY_KEYS=${key:-mayfly-gateway-keys}"
    for name in certificate certificate_key; do
        key=$(attribute "mayfly-gateway-${name/_/-}")
        [[ $key == own ]] || own+=${key:+ MAYFLY_GATEWAY_${name^^}=$key}
    done
}

# "NAME=secret[/version] ..."
settings_from_secrets() {
    local pair name payload
    for pair in $1; do
        name=${pair%%=*}
        [[ $pair == *=* && $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || die "mayfly-secrets: '$pair' is not NAME=secret[/version]"
        payload=$(secret "${pair#*=}" <<<"Authorization: Bearer $token")
        setting "$name" "$payload"
    done
}

# AUTH: what the agent lets its callers in by. A key is read only where it opens the door.
who_may_call() {
    local callers names name keys=''
    [[ $1 == id-token || $1 == api-key || $1 == both ]] || die "mayfly-auth is '$1', neither id-token, api-key nor both"
    callers=$(attribute mayfly-callers)
    names=$(attribute mayfly-agent-key)
    if [[ $1 != api-key && -z ${callers//[, ]/} ]]; then
        die "mayfly-callers is not set, so nobody could call: set it to the email of the orchestrator's service account," \
            'or mayfly-auth to api-key'
    fi
    if [[ $1 != id-token ]]; then
        for name in ${names:-mayfly-agent-key}; do
            keys+=$(secret "$name" <<<"Authorization: Bearer $token")$'\n'
        done
    fi
    setting MAYFLY_AUTH "$1"
    setting MAYFLY_CALLERS "$callers"
    setting MAYFLY_API_KEY "$keys"
}

# ID[/VERSION], or a full resource name; the request's header comes by standard input.
secret() {
    local answer
    [[ $1 =~ ^(projects/[^/]+/secrets/)?([^/]+)(/versions)?(/([^/]+))?$ ]] || die "'$1' is not the name of a secret"
    local version=${BASH_REMATCH[1]:-projects/$project/secrets/}${BASH_REMATCH[2]}/versions/${BASH_REMATCH[5]:-latest}
    answer=$(get "${secret_manager:-https://secretmanager.googleapis.com}/v1/$version:access" -H @-) || return
    [[ ${answer##*$'\n'} == 200 ]] || die "Secret Manager: ${answer##*$'\n'} for $version: $(json_string message <<<"$answer")"
    json_string data <<<"$answer" | sed 's/\\u003d/=/g' | base64 -d
}

own_settings() {
    local name port user
    port=$(attribute mayfly-port)
    setting AGENT_PORT "${port:-8000}"
    setting PATH "$venv/bin:$PATH"
    setting_of mayfly-gateway-upstream MAYFLY_GATEWAY_UPSTREAM
    [[ $(attribute mayfly-gateway-certificate) != own ]] || setting MAYFLY_GATEWAY_CERTIFICATE own
    setting_of mayfly-silence-seconds MAYFLY_DEADMAN_SILENCE_SECONDS
    for name in job require-gpu tls hosts egress-echo job-metadata container-{memory,cpus,pids,gpu,network,pull,env}; do
        name=mayfly-$name
        setting_of "$name" "$(tr a-z- A-Z_ <<<"$name")"
    done
    user=$(job_user)
    [[ -z $user ]] || setting MAYFLY_JOB_USER "$user"
    for name in HOME MAYFLY_ROOT MAYFLY_POWEROFF GCE_METADATA_HOST GCE_METADATA_IP \
        SECRET_MANAGER_EMULATOR_HOST MAYFLY_CERTS_URL; do
        [[ -z ${!name:-} ]] || setting "$name" "${!name}"
    done
}

# ATTRIBUTE NAME
setting_of() {
    local value
    value=$(attribute "$1")
    [[ -z $value ]] || setting "$2" "$value"
}

# The user that jobs are to be. A machine that is a folder on another one makes no users there.
job_user() {
    local name group
    name=$(attribute mayfly-job-user)
    if [[ -z $root ]] && command -v useradd >/dev/null; then
        name=${name:-mayfly-job}
        if ! id -u "$name" >/dev/null 2>&1; then
            attempt useradd --system --create-home --home-dir "/var/lib/$name" --shell /usr/sbin/nologin "$name" >&2
        fi
        for group in video render; do # they may open the GPU's device files
            ! getent group "$group" >/dev/null || [[ $name == root ]] || attempt usermod -aG "$group" "$name" >&2
        done
    fi
    echo "$name"
}

# As systemd's EnvironmentFile reads it: in double quotes, newlines are kept.
setting() {
    local text=${2//\\/\\\\}
    printf '%s="%s"\n' "$1" "${text//\"/\\\"}" >>"$env_file.new"
}

# ---- dependencies ------------------------------------------------------------------------------------------

install_dependencies() {
    local uv extra list extras=()
    list=$(attribute mayfly-extras)
    for extra in ${list:-agent}; do
        [[ $extra == none ]] || extras+=(--extra "$extra")
    done
    uv=$(command -v "${UV:-uv}") || install_uv
    export UV_PROJECT_ENVIRONMENT=$venv UV_PYTHON_INSTALL_DIR=$root/opt/mayfly/python # where jobs of another user find it
    [[ $(attribute mayfly-job-metadata) != deny ]] || command -v nft >/dev/null || install_packages nftables
    attempt "${uv:-$own_uv/bin/uv}" sync --project "$code" --frozen --no-dev --no-progress "${extras[@]}"
}

install_uv() {
    [[ ! -x $own_uv/bin/uv ]] || return 0
    command -v python3 >/dev/null || install_packages python3
    attempt python3 -m venv --clear "$own_uv" || {
        install_packages python3-venv
        attempt python3 -m venv --clear "$own_uv"
    }
    attempt "$own_uv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
}

install_packages() {
    command -v apt-get >/dev/null || die "$* missing, and no apt-get to install it with"
    attempt apt-get -qq -o DPkg::Lock::Timeout=300 update
    attempt apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
}

# ---- the agent: a service that starts again when it ends, never a child of this script ---------------------

start_agent() {
    local started=$SECONDS
    if [[ -n ${MAYFLY_SUPERVISOR:-} ]]; then
        cd "$code"
        attempt "$MAYFLY_SUPERVISOR" mayfly-agent "$env_file" -- "$venv/bin/python" -m vm_agent ${role:+"$role"}
    elif on_systemd; then
        write_unit
        attempt systemctl daemon-reload
        attempt systemctl restart mayfly-agent.service
    else
        die "neither systemd nor MAYFLY_SUPERVISOR: nothing here keeps the agent alive"
    fi
    until agent_answers; do
        ((SECONDS - started < agent_seconds)) || die "no answer from the agent in $agent_seconds s: $(last_words)"
        sleep 0.5
    done
}

# Any answer will do: an agent that says 503 tells why.
agent_answers() {
    local ip port
    ip=$(value instance/network-interfaces/0/ip)
    port=$(value instance/attributes/mayfly-port)
    curl -sk -o /dev/null --max-time 5 "https://$ip:${port:-8000}/" || curl -s -o /dev/null --max-time 5 "http://$ip:${port:-8000}/"
}

# Under /run, so that the agent never starts at a boot before this script has armed the dead-man.
write_unit() {
    mkdir -p /run/systemd/system
    cat >/run/systemd/system/mayfly-agent.service <<UNIT
[Unit]
Description=Mayfly agent
StartLimitIntervalSec=0

[Service]
ExecStart=$venv/bin/python -m vm_agent $role
WorkingDirectory=$code
EnvironmentFile=$env_file
Restart=always
RestartSec=1
# No run outlives the agent that answers for it; a run that eats all memory does not take the agent along.
KillMode=control-group
Delegate=yes
OOMPolicy=continue
TimeoutStopSec=20
StandardOutput=journal+console
StandardError=inherit
UNIT
}

last_words() {
    if on_systemd; then journalctl -u mayfly-agent -n 15 -o cat --no-pager; else echo "see the serial console"; fi
}

on_systemd() {
    [[ -z ${MAYFLY_SUPERVISOR:-} && -d /run/systemd/system ]]
}

# ---- reports and failures ----------------------------------------------------------------------------------

# STATUS [DETAIL]
report() {
    local detail=${2:-}
    echo "mayfly: stage=$stage status=$1${detail:+ detail=${detail//$'\n'/ | }}"
    detail=${detail//\\/\\\\} detail=${detail//\"/\\\"} detail=${detail//$'\n'/\\n}
    printf '{"epoch": %s, "boot_id": "%s", "stage": "%s", "status": "%s", "detail": "%s"}' \
        "${epoch:-0}" "$boot_id" "$stage" "$1" "$detail" |
        curl -fsS -o /dev/null --max-time 5 --retry 2 -X PUT -H 'Metadata-Flavor: Google' --data-binary @- \
            "$metadata/instance/guest-attributes/mayfly/boot" || echo "mayfly: the boot report could not be published"
}

# EXIT-CODE COMMAND: the ERR trap. Only the outermost shell reports.
fail() {
    ((BASH_SUBSHELL == 0)) || exit "$1"
    trap - ERR
    set +e
    local words
    words=$(tail -n 15 "$errors" 2>/dev/null | tail -c 1500 | tr '\t\r' '  ' | tr -cd '\n\40-\176')
    report failed "${words:-$2 exited $1}${failed_command:+ ($failed_command exited $1)}"
    exit "$1"
}

# Run a command; its stderr goes to the console and, should it fail, into the report. So no argument may be a secret.
attempt() {
    failed_command=$*
    { "$@" 2>&1 >&3 3>&- | tee "$errors" >&2; } 3>&1 || return
    : >"$errors"
    failed_command=''
}

attempt_thrice() {
    attempt "$@" || { sleep 1 && attempt "$@"; } || { sleep 2 && attempt "$@"; }
}

# Ends the shell it is called in: a subshell's end is a failed command of the one around it.
die() {
    echo "$*" | tee "$errors" >&2
    fail 1 "$*"
}

# ---- what the metadata server says -------------------------------------------------------------------------

attribute() {
    metadata "instance/attributes/$1"
}

# The value, or nothing where there is none. Any other answer is a failure.
metadata() {
    local answer
    answer=$(get "$metadata/$1" -H 'Metadata-Flavor: Google') || return
    case ${answer##*$'\n'} in
    200) echo "${answer%$'\n'*}" ;;
    404) ;;
    *) die "metadata server: ${answer##*$'\n'} for $1" ;;
    esac
}

# URL OPTION...: the body, then a line with the status.
get() {
    local body status
    body=$(mktemp "$root/run/mayfly-answer.XXXXXX") # 0600; on standard output, answers before a retry would stay
    status=$(curl -sS --max-time 10 --retry 5 --retry-connrefused --retry-max-time 30 \
        -o "$body" -w '%{http_code}' "${@:2}" "$1" 2>"$errors") || return
    cat "$body"
    rm "$body"
    printf '\n%s' "$status"
}

# The string of that name in a JSON text.
json_string() {
    tr '\n' ' ' | sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p'
}

main
