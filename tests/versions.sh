#!/bin/bash
# `make test-versions`: the table of differences, then the provider's and the engine's suites on each version, as superuser and
# with a cloud's control role. Arguments choose major versions. Ends in a line that adds up all of it.
set -uo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(14 15 16 17 18)
logs=target/versions
mkdir -p "$logs"
passed=0 failed=0 skipped=0

# Adds up the closing lines of the test programs in log $1, and prints them under title $2. A program that did not get as far
# as its closing line has failed.
count() {
    local counts
    counts=$(awk '/^test result: / { p += $4; f += $6; s += $8 + $12 } END { print p + 0, f + 0, s + 0 }' "$1")
    read -r p f s <<<"$counts"
    if [ "$3" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-28s %4d passed %4d failed %4d skipped' "$2" "$p" "$f" "$s"
    if [ "$f" -gt 0 ]; then printf '   %s' "$1"; fi
    printf '\n'
}

target/debug/versions "${majors[@]}" | tee "$logs/table"
rows=$(grep -c '^| [0-9]' "$logs/table")
wrong=$(grep -c '^| [0-9].*\(expected:\|FAILED\)' "$logs/table")
passed=$((rows - wrong)) failed=$wrong

# Sets `skips` to what keeps out the tests that case $1 cannot pass.
choose_skips() {
    local case=$1 cases name
    skips=()
    while read -r cases name; do
        # shellcheck disable=SC2053 # the left column is a pattern
        if [[ $case == $cases ]]; then skips+=(--skip "$name"); fi
    done < <(sed 's/ *#.*//; /^$/d' tests/versions-skipped)
}

for major in "${majors[@]}"; do
    bin=$(lab/setup/versions.sh "$major") || exit 1
    for hosting in self-managed managed; do
        log="$logs/$major-$hosting"
        choose_skips "$major-$hosting"
        POINTSMAN_PG_BIN=$bin POINTSMAN_LAB_HOSTING=$hosting \
            "$cargo" test --workspace --no-fail-fast --test provider --test engine -- "${skips[@]}" >"$log" 2>&1 </dev/null
        count "$log" "PostgreSQL $major, $hosting" $?
    done
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
