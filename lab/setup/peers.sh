#!/bin/sh
# Installs the pinned Patroni into a venv of the project's own (.lab/peers) and prints the path of its program. Quick when that is
# done already, and safe to run from several places at once. HAProxy, PgBouncer and etcd are taken from PATH.
#
#   POINTSMAN_PATRONI=PATH   use exactly this program
set -eu

version=4.1.5
root=$(cd "$(dirname "$0")/../.." && pwd)
venv="$root/.lab/peers"
stamp="$venv/pointsman-patroni-$version" # written last, so that a broken install is done again
patroni="$venv/bin/patroni"

. "$root/lab/setup/python.sh"

say() { printf 'peers.sh: %s\n' "$*" >&2; }

if [ -n "${POINTSMAN_PATRONI:-}" ]; then
    "$POINTSMAN_PATRONI" --version >/dev/null 2>&1 || {
        say "POINTSMAN_PATRONI=$POINTSMAN_PATRONI does not run as Patroni; unset it or point it at one"
        exit 1
    }
    printf '%s\n' "$POINTSMAN_PATRONI"
    exit 0
fi

# Root's servers run as another user, to whom a Python in root's own home is closed.
python_for_all() {
    if [ "$(id -u)" -eq 0 ] && /usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null; then
        printf '/usr/bin/python3\n'
    else
        usable_python
    fi
}

if [ ! -f "$stamp" ]; then
    mkdir -p "$root/.lab"
    exec 9>"$root/.lab/peers.lock"
    flock 9
fi
if [ ! -f "$stamp" ]; then
    python=$(python_for_all) || {
        say "no Python 3 with venv and ensurepip here (Debian: apt-get install python3-venv); install it or set POINTSMAN_PATRONI"
        exit 1
    }
    say "installing Patroni $version into $venv"
    rm -rf "$venv"
    {
        "$python" -m venv "$venv" &&
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary psycopg2-binary \
                "patroni[etcd3]==$version" python-etcd==0.4.5 psycopg2-binary==2.9.13 &&
            "$patroni" --version
    } >&2 </dev/null || {
        say "pip could not install patroni==$version; its output is above"
        exit 1
    }
    : >"$stamp"
fi
printf '%s\n' "$patroni"
