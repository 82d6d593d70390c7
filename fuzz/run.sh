#!/usr/bin/env bash
# Fuzzes one target: by libFuzzer where cargo-fuzz is installed, which learns by coverage, else by the stable engine.
#
#   fuzz/run.sh TARGET [MINUTES]       what is found new goes to target/fuzz/corpus/TARGET, what fails to fuzz/artifacts
#   fuzz/run.sh --keep TARGET          takes the inputs found so far that reach more into the committed corpus
#
# FUZZ_ENGINE=stable takes the stable engine all the same. No sanitizer: there is no unsafe code here, and without one any
# toolchain serves; FUZZ_SANITIZER=address wants a nightly one (RUSTUP_TOOLCHAIN=nightly).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

keep=no
if [[ ${1:-} == --keep ]]; then
    keep=yes
    shift
fi
target=${1:?which target? cargo run -p fuzz -- list}
minutes=${2:-1}

if [[ ${FUZZ_ENGINE:-} == stable ]] || ! command -v cargo-fuzz >/dev/null; then
    if [[ $keep == yes ]]; then
        echo "fuzz/run.sh: what reaches more is known to libFuzzer only: cargo install cargo-fuzz" >&2
        exit 1
    fi
    exec cargo run --quiet --release -p fuzz -- run "$target" --minutes "$minutes"
fi

# In a folder of its own: instrumented code is no use to anything else.
work=${CARGO_TARGET_DIR:-target}/fuzz
mkdir -p "$work/corpus/$target" "$work/build" "fuzz/artifacts/$target"
# anyhow would otherwise walk the stack for each refusal.
export RUST_LIB_BACKTRACE=0
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_STRIP=none
CARGO_TARGET_DIR=$work/build cargo fuzz build --sanitizer "${FUZZ_SANITIZER:-none}" --features libfuzzer "$target"
host=$(rustc -vV | sed -n 's/^host: //p')
program=$work/build/$host/release/$target

# What was kept is one file; libFuzzer wants folders.
kept=$(mktemp -d)
trap 'rm -rf -- "$kept"' EXIT
cargo run --quiet -p fuzz -- unpack "$target" "$kept"

if [[ $keep == yes ]]; then
    merged=$(mktemp -d)
    trap 'rm -rf -- "$kept" "$merged"' EXIT
    # The fewest that reach every edge: how often one is passed tells less than what its inputs cost in the repository.
    "$program" -set_cover_merge=1 -use_counters=0 -max_len="${FUZZ_KEEP_BYTES:-512}" "$merged" "fuzz/corpus/$target" "$kept" \
        "$work/corpus/$target" 2>&1 | tail -n 1
    cargo run --quiet -p fuzz -- pack "$target" "$merged"
    exit
fi

words=$work/$target.words
cargo run --quiet -p fuzz -- words "$target" >"$words"
"$program" -max_total_time=$((minutes * 60)) -timeout=30 -rss_limit_mb=2048 -dict="$words" \
    -artifact_prefix="fuzz/artifacts/$target/" -print_final_stats=1 "$work/corpus/$target" "fuzz/corpus/$target" "$kept"
