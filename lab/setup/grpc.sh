#!/bin/sh
# Installs the pinned gRPC into a venv of the project's own (.lab/grpc) and prints the path of a Python that has it. Quick when
# that is done already, and safe to run from several places at once. Where it cannot be had, it says why and fails.
#
#   POINTSMAN_GRPC_PYTHON=PATH   use exactly this Python
set -eu

version=1.85.1
root=$(cd "$(dirname "$0")/../.." && pwd)
venv="$root/.lab/grpc"
stamp="$venv/pointsman-grpc-$version" # written last, so that a broken install is done again

. "$root/lab/setup/python.sh"

say() { printf 'grpc.sh: %s\n' "$*" >&2; }

if [ -n "${POINTSMAN_GRPC_PYTHON:-}" ]; then
    if ! "$POINTSMAN_GRPC_PYTHON" -c 'import grpc' 2>/dev/null; then
        say "POINTSMAN_GRPC_PYTHON=$POINTSMAN_GRPC_PYTHON cannot import grpc"
        exit 1
    fi
    printf '%s\n' "$POINTSMAN_GRPC_PYTHON"
    exit 0
fi

if ! [ -f "$stamp" ]; then
    python=$(usable_python) || {
        say "no Python 3 with venv and ensurepip here"
        exit 1
    }
    mkdir -p "$root/.lab"
    exec 9>"$root/.lab/grpc.lock"
    flock 9
fi
if ! [ -f "$stamp" ]; then
    say "installing gRPC $version into $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "grpcio==$version" >&2 </dev/null || {
        say "pip could not install grpcio==$version"
        exit 1
    }
    "$venv/bin/python" -c 'import grpc' >&2 || {
        say "grpcio==$version does not run here"
        exit 1
    }
    : >"$stamp"
fi
printf '%s\n' "$venv/bin/python"
