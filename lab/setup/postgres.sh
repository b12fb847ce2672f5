#!/bin/sh
# Finds a PostgreSQL server of version 14 or later and prints its bin directory; as root on Debian and its kin it installs one when
# there is none. Only the programs are used: no cluster is created, no service started.
#
#   POINTSMAN_PG_BIN=DIR   use exactly this bin directory
set -eu

oldest=14
root=$(cd "$(dirname "$0")/../.." && pwd)

say() { printf 'postgres.sh: %s\n' "$*" >&2; }

# The major version of the server in bin directory $1; nothing if it is not a whole server.
major_of() {
    for program in postgres initdb pg_basebackup; do
        [ -x "$1/$program" ] || return 0
    done
    "$1/postgres" --version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\).*/\1/p'
}

candidates() {
    if on_path=$(command -v postgres); then
        dirname "$(readlink -f "$on_path")"
    fi
    if command -v pg_config >/dev/null; then
        pg_config --bindir 2>/dev/null || true
    fi
    for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin; do
        [ -d "$bin" ] && printf '%s\n' "$bin"
    done
    return 0
}

# The newest server that is new enough; ties go to the first found.
newest() {
    candidates | while IFS= read -r bin; do
        major=$(major_of "$bin")
        if [ -n "$major" ] && [ "$major" -ge "$oldest" ]; then
            printf '%s %s\n' "$major" "$bin"
        fi
    done | sort -s -k1,1nr | sed -n '1s/^[0-9]* //p'
}

install_debian() {
    say "no PostgreSQL server >= $oldest here; installing Debian's package"
    export DEBIAN_FRONTEND=noninteractive
    wait_for_lock='-o DPkg::Lock::Timeout=300'
    {
        # shellcheck disable=SC2086
        apt-get $wait_for_lock update &&
            apt-get $wait_for_lock install -y --no-install-recommends postgresql-common || return 1
        # Without this the package would create and start a cluster of its own.
        mkdir -p /etc/postgresql-common/createcluster.d
        veto=/etc/postgresql-common/createcluster.d/pointsman-lab.conf
        printf 'create_main_cluster = false\n' >"$veto"
        # shellcheck disable=SC2086
        apt-get $wait_for_lock install -y --no-install-recommends postgresql && installed=0 || installed=$?
        rm -f "$veto"
        rmdir "$(dirname "$veto")" 2>/dev/null || true # unless somebody else keeps something there
        return "$installed"
    } >&2 </dev/null
}

if [ -n "${POINTSMAN_PG_BIN:-}" ]; then
    major=$(major_of "$POINTSMAN_PG_BIN")
    if [ -z "$major" ] || [ "$major" -lt "$oldest" ]; then
        say "POINTSMAN_PG_BIN=$POINTSMAN_PG_BIN holds no PostgreSQL server >= $oldest (postgres, initdb, pg_basebackup); unset it or point it at one"
        exit 1
    fi
    printf '%s\n' "$POINTSMAN_PG_BIN"
    exit 0
fi

bin=$(newest)
if [ -z "$bin" ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "no PostgreSQL server >= $oldest here. Install one, on Debian or Ubuntu:"
        say "    sudo apt-get update && sudo apt-get install -y --no-install-recommends postgresql"
        say "or set POINTSMAN_PG_BIN to the bin directory of one"
        exit 1
    fi
    mkdir -p "$root/.lab"
    exec 9>"$root/.lab/postgres.lock"
    flock 9
    bin=$(newest)
    if [ -z "$bin" ]; then
        install_debian || {
            say "apt-get could not install PostgreSQL; its output is above"
            exit 1
        }
        bin=$(newest)
    fi
    if [ -z "$bin" ]; then
        say "apt-get installed a PostgreSQL older than $oldest; set POINTSMAN_PG_BIN to the bin directory of a newer one"
        exit 1
    fi
fi
printf '%s\n' "$bin"
