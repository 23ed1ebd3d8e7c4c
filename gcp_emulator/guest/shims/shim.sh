#!/bin/sh
# The machine's own programs, as an emulated VM finds them: first on its PATH, under the names that link here.
# They act on the emulated VM alone, by a line to its init; what has no meaning there is said on the console and not done.

me=${0##*/}
door=${MAYFLY_ROOT:-}/run/mayfly-power

main() {
    case $me in
    poweroff | halt) power poweroff "$@" ;;
    reboot) power reboot "$@" ;;
    shutdown) plan_shutdown "$@" ;;
    init | telinit) change_runlevel "$@" ;;
    systemctl | loginctl) control "$@" ;;
    systemd-run) refuse "there is no systemd here: nothing was started or timed" ;;
    sudo) run_as_anybody "$@" ;;
    apt | apt-get) install_nothing "$@" ;;
    supervise) supervise "$@" ;;
    *) would "$@" ;;
    esac
}

tell() {
    [ -p "$door" ] || refuse "this is not an emulated machine (no $door)"
    printf '%.2000s\n' "$*" >"$door"
}

refuse() {
    echo "$me: $*" >&2
    exit 1
}

would() { tell "say $me: not done, this machine is emulated: $me $*"; }

power() {
    verb=$1
    shift
    case " $* " in
    *" --help "*) echo "$me: ends or restarts this emulated machine" ;;
    *" -w "* | *" --wtmp-only "*) ;;
    *" --reboot "*) tell reboot ;;
    *) tell "$verb" ;;
    esac
}

plan_shutdown() {
    verb=poweroff when=+1
    for word in "$@"; do
        case $word in
        -c) tell cancel && exit ;;
        -r | --reboot) verb=reboot ;;
        -k) would "$@" && exit ;;
        -*) ;;
        *)
            when=$word
            break
            ;;
        esac
    done
    [ "$when" = now ] && when=0
    minutes=${when#+}
    case $minutes in
    '' | *[!0-9]*) refuse "an emulated machine knows 'now' and '+MINUTES', not '$when'" ;;
    *) tell "$verb-in $minutes" ;;
    esac
}

change_runlevel() {
    case ${1:-} in
    0) tell poweroff ;;
    6) tell reboot ;;
    *) would "$@" ;;
    esac
}

control() {
    for word in "$@"; do
        case $word in
        -*) ;;
        poweroff | halt) tell poweroff && return ;;
        reboot | soft-reboot | kexec) tell reboot && return ;;
        *) break ;;
        esac
    done
    would "$@"
}

# Everybody is root here: options that take a value lose it, settings go to the environment.
run_as_anybody() {
    while [ $# -gt 0 ]; do
        case $1 in
        -u | -g | -h | -p | -C | -D | -R | -T | -U) shift ;;
        --) shift && break ;;
        -*) ;;
        *) break ;;
        esac
        shift
    done
    [ $# -gt 0 ] || exit 0
    exec env "$@"
}

# An emulated VM has the packages of the machine underneath, no more: asking for one that is there succeeds.
install_nothing() {
    verb=
    for word in "$@"; do
        case $word in
        -*) continue ;;
        *) [ -n "$verb" ] || { verb=$word && continue; } ;;
        esac
        [ "$verb" != install ] || is_there "$word" || {
            echo "E: Unable to locate package $word: an emulated machine has what the machine underneath has" >&2
            exit 100
        }
    done
    would "$@"
}

is_there() {
    case $1 in
    python3-venv) python3 -c 'import ensurepip' 2>/dev/null ;;
    *) command -v "$1" >/dev/null || dpkg -s "$1" >/dev/null 2>&1 ;;
    esac
}

# supervise NAME ENVFILE -- COMMAND...: as a systemd unit with Restart=always would.
supervise() {
    { [ $# -ge 4 ] && [ "$3" = -- ]; } || refuse "usage: supervise NAME ENVFILE -- COMMAND [ARGUMENT...]"
    name=$1 environment=$2
    shift 3
    printf '%s\0' "$PWD" "$environment" "$@" >"$MAYFLY_ROOT/run/services/$name.new"
    mv "$MAYFLY_ROOT/run/services/$name.new" "$MAYFLY_ROOT/run/services/$name"
    tell "service $name"
}

main "$@"
