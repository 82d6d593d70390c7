#!/usr/bin/env bash
# Measures the pipeline on a real Kafka of its own: what a record costs, what exactly once costs, how long
# a record takes, what the admin port costs. See usage below; each part is a file of its own beside this one.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

count=1000000
repeat=1
partitions=6
warm_up=3
parts=speed,guarantees,latency
source bench/lib.sh
source bench/streams.sh
[[ -z $(find_dist_binary) ]] || parts+=,musl
usage() {
    cat <<TEXT
usage: bench/run.sh [--only PART[,PART]] [--repeat $repeat] [--count $count] [--partitions $partitions] [--warm-up $warm_up]
  speed       CPU time of a record: a copy loop, the same work on librdkafka and on Kafka Streams, the pipeline
              by each reader
  guarantees  CPU time of a record: at least once, exactly once, Kafka Streams by both
  latency     from the source's log to the output's at 5,000 events a second, and the CPU time of that
  admin       full load with 1,000 idle and 200 slow connections at the admin port, and without; an idle
              pipeline, with somebody at its page and without; left out unless it is named
  musl        CPU time and memory: \`make dist\`'s static binary beside the usual build; left out unless
              it is named, or dist/ has a binary for this machine
Each is measured --repeat times, in turn. Before that the broker is warmed up, because its compiler takes
some rounds: by --warm-up copies of all records, and by a round of each part that does not count.
TEXT
}
while (($# > 0)); do
    case $1 in
        --only) parts=${2:?} ;;
        --count) count=${2:?} ;;
        --repeat) repeat=${2:?} ;;
        --partitions) partitions=${2:?} ;;
        --warm-up) warm_up=${2:?} ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
    shift 2
done
IFS=, read -ra parts <<<"$parts"
for part in "${parts[@]}"; do
    [[ $part =~ ^(speed|guarantees|latency|admin|musl)$ ]] || {
        usage >&2
        exit 2
    }
done

[[ -d /proc/self ]] || {
    echo "bench/run.sh reads /proc: it needs Linux" >&2
    exit 1
}

work=$(mktemp -d)
export KAFKA_STATE=$work/kafka
measured="" # the process that is measured, and one that feeds it
feeding=""
cleanup() {
    local pid
    for pid in $measured $feeding; do kill -KILL "$pid" 2>/dev/null || true; done
    tools/kafka/kafka.sh down --wipe >/dev/null 2>&1 || true
    rm -rf -- "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# shellcheck source=bench/speed.sh source=bench/guarantees.sh source=bench/latency.sh
# shellcheck source=bench/admin.sh source=bench/musl.sh
for part in "${parts[@]}"; do source "bench/$part.sh"; done

say "building"
export CARGO_INCREMENTAL=0 # as `make build` does, whatever the shell says
target=${CARGO_TARGET_DIR:-target}
# Each by itself: cargo would give the pipeline what only the bench asks of a crate, such as a clock of tokio's that stops.
cargo build --release --quiet
cargo build --release --quiet --package bench
pipeline=$target/release/login-pipeline
copy_loop=$target/release/copy_loop
for part in "${parts[@]}"; do "prepare_$part"; done

brokers=$(tools/kafka/kafka.sh up --port "$(free_port)")

say "generating $count events"
create user-login
"$pipeline" generate --kafka.brokers "$brokers" --source.topic user-login \
    --count "$count" --bad 0.02 --seed 1 >"$work/generate.log" 2>&1 || gave_up generate "$work/generate.log"

say "warming the broker up"
for ((copy = 1; copy <= warm_up; copy++)); do
    create "warm-$copy"
    "$copy_loop" "$brokers" user-login "warm-$copy" </dev/null >/dev/null
    drop "warm-$copy"
done

for part in "${parts[@]}"; do
    say "$part, to warm up"
    "warm_up_$part"
    rm -f "$work"/*.results # nothing of that counts
    for ((round = 1; round <= repeat; round++)); do
        say "$part, round $round of $repeat"
        "measure_$part" "$round"
    done
    "report_$part" >>"$work/report"
done

printf '\n%s events, %s partitions, %s round(s); %s cores, %s\n' "$count" "$partitions" "$repeat" \
    "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
cat "$work/report"
