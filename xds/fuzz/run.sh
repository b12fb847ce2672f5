#!/bin/sh
# run.sh TARGET SECONDS: builds the fuzz targets with libFuzzer's instrumentation and runs one.
# Needs a C++ compiler and nothing else; the corpus grows beside this file, what breaks is kept
# under target/.
set -eu
cd "$(dirname "$0")"
target=$1
seconds=$2
instrumented='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1'
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS=$(echo $instrumented) cargo build --release --target "$host" --bin "$target"
mkdir -p "corpus/$target" "target/found/$target"
exec "target/$host/release/$target" "corpus/$target" \
    -max_total_time="$seconds" -max_len=512 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="target/found/$target/" -print_final_stats=1
