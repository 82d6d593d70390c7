#!/usr/bin/env bash
# Measures the pipeline, by each of its readers, against a plain rskafka copy loop that does none of
# its work: the same events, the same real Kafka, in turn. What counts is the CPU time of a record.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

count=1000000
repeat=1
partitions=6
usage() {
    cat <<TEXT
usage: bench/run.sh [--count $count] [--repeat $repeat] [--partitions $partitions]
Prints CPU seconds per million records, records a second and peak memory of each, and their ratios.
TEXT
}
while (($# > 0)); do
    case $1 in
        --count) count=${2:?} ;;
        --repeat) repeat=${2:?} ;;
        --partitions) partitions=${2:?} ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
    shift 2
done

[[ -d /proc/self ]] || {
    echo "bench/run.sh reads /proc: it needs Linux" >&2
    exit 1
}

work=$(mktemp -d)
export KAFKA_STATE=$work/kafka
measured=""
cleanup() {
    if [[ -n $measured ]]; then kill -KILL "$measured" 2>/dev/null || true; fi
    tools/kafka/kafka.sh down --wipe >/dev/null 2>&1 || true
    rm -rf -- "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

free_port() { # a port on which, and 1000 above which, nobody listens
    local port
    while true; do
        port=$((20000 + RANDOM % 10000))
        if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null &&
            ! (: <"/dev/tcp/127.0.0.1/$((port + 1000))") 2>/dev/null; then
            printf '%s' "$port"
            return
        fi
    done
}

say() { printf '%s\n' "$*" >&2; }

say "building"
cargo build --release --quiet --bin login-pipeline --example copy_loop
target=${CARGO_TARGET_DIR:-target}/release
pipeline=$target/login-pipeline
copy_loop=$target/examples/copy_loop

brokers=$(tools/kafka/kafka.sh up --port "$(free_port)")
create() { # TOPIC
    tools/kafka/kafka.sh cli org.apache.kafka.tools.TopicCommand --bootstrap-server "$brokers" \
        --create --topic "$1" --partitions "$partitions" >/dev/null
}
drop() { # TOPIC...
    local topic
    for topic in "$@"; do
        tools/kafka/kafka.sh cli org.apache.kafka.tools.TopicCommand --bootstrap-server "$brokers" \
            --delete --topic "$topic" >/dev/null
    done
}

say "generating $count events"
create user-login
"$pipeline" generate --kafka.brokers "$brokers" --source.topic user-login \
    --count "$count" --bad 0.02 --seed 1 >"$work/generate.log" 2>&1 ||
    { cat "$work/generate.log" >&2 && exit 1; }

# ---- measuring

now_ms() { printf '%s' $((${EPOCHREALTIME/[.,]/} / 1000)); }

cpu_ms() { # PID
    local stat fields
    stat=$(<"/proc/$1/stat")
    # Behind the name in parentheses; user and system time are the 14th and 15th field.
    read -ra fields <<<"${stat##*) }"
    printf '%s' $(((fields[11] + fields[12]) * 1000 / $(getconf CLK_TCK)))
}

peak_kb() { awk '/^VmHWM:/ { print $2 }' "/proc/$1/status"; }

# Appends `cpu_ms wall_ms peak_kb` to FILE, and ends the process.
finish() { # NAME STARTED
    printf '%s %s %s\n' "$(cpu_ms "$measured")" $(($(now_ms) - $2)) "$(peak_kb "$measured")" \
        >>"$work/$1.results"
    tail -n 1 "$work/$1.results" | report "$1" >&2
    kill -TERM "$measured" 2>/dev/null || true
    wait "$measured" 2>/dev/null || true
    measured=""
}

in_time() { # STARTED
    [[ -d /proc/$measured ]] && (($(now_ms) - $1 < 600000))
}

gave_up() { # NAME LOG
    say "$1 ended early or took more than 10 minutes; its log ends:"
    tail -n 30 "$2" >&2
    exit 1
}

measure_copy_loop() { # ROUND
    local started log=$work/copy_loop.log
    create "copy-$1"
    mkfifo "$work/input"
    started=$(now_ms)
    "$copy_loop" "$brokers" user-login "copy-$1" <"$work/input" >"$log" 2>&1 &
    measured=$!
    exec 8>"$work/input"
    until grep -q "^drained $count\$" "$log"; do
        in_time "$started" || gave_up copy_loop "$log"
        sleep 0.05
    done
    finish copy_loop "$started"
    exec 8>&-
    rm "$work/input"
    drop "copy-$1"
}

# How many records the pipeline is done with: written, and acknowledged by the brokers.
done_with() { # PORT
    local metrics
    exec 7<>"/dev/tcp/127.0.0.1/$1" || return 0
    printf 'GET /metrics HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&7
    metrics=$(cat <&7)
    exec 7>&-
    awk '/^login_pipeline_routed_records_total[{ ]/ { sum += $NF } END { printf "%d", sum }' <<<"$metrics"
}

measure_pipeline() { # ROUND READER
    local started admin log=$work/$2.log
    create "out-$2-$1"
    create "dead-$2-$1"
    admin=$(free_port)
    started=$(now_ms)
    "$pipeline" run --kafka.brokers "$brokers" --source.topic user-login --source.reader "$2" \
        --output.topic "out-$2-$1" --dead_letter.topic "dead-$2-$1" --offsets.path "$work/offsets-$2-$1" \
        --admin.listen "127.0.0.1:$admin" </dev/null >"$log" 2>&1 &
    measured=$!
    until [[ $(done_with "$admin" 2>/dev/null) == "$count" ]]; do
        in_time "$started" || gave_up "$2" "$log"
        sleep 0.1
    done
    finish "$2" "$started"
    drop "out-$2-$1" "dead-$2-$1"
}

report() { # NAME, lines of results on stdin
    awk -v name="$1" -v count="$count" '
        { cpu += $1; wall += $2; if ($3 > peak) peak = $3; runs++ }
        END {
            printf "%-10s %6.2f CPU s per million records %9.0f records/s %7.1f MiB peak\n",
                name, cpu / runs / count * 1000, count * runs / wall * 1000, peak / 1024
        }'
}

say "warming the broker up"
create warm
"$copy_loop" "$brokers" user-login warm </dev/null >/dev/null
drop warm

for ((round = 1; round <= repeat; round++)); do
    say "round $round of $repeat"
    if ((round % 2 == 1)); then
        measure_copy_loop "$round"
        measure_pipeline "$round" rskafka
        measure_pipeline "$round" wire
    else
        measure_pipeline "$round" wire
        measure_pipeline "$round" rskafka
        measure_copy_loop "$round"
    fi
done

printf '\n%s events, %s partitions, %s round(s); %s cores, %s\n' "$count" "$partitions" "$repeat" \
    "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
report copy_loop <"$work/copy_loop.results"
for reader in rskafka wire; do
    report "$reader" <"$work/$reader.results"
done
for reader in rskafka wire; do
    awk -v reader="$reader" 'FNR == NR { copy += $1; next } { pipeline += $1 }
         END { printf "the pipeline by %s takes %.2f times the CPU of the copy loop\n", reader, pipeline / copy }' \
        "$work/copy_loop.results" "$work/$reader.results"
done
