# shellcheck shell=bash
# How long a record takes at a steady rate, from the source's log to the output's by the broker's one
# clock, and what CPU time the pipeline takes for it. bench/latency.rs reads both logs.

rate=5000
settle_seconds=10
load_seconds=20

prepare_latency() { latency=$target/release/latency; }

# Small requests are another path through the broker than the full ones of the copies.
warm_up_latency() { measure_latency_of wire warm; }

measure_latency() { # ROUND
    local reader
    for reader in $(in_turn "$1" rskafka wire); do measure_latency_of "$reader" "$1"; done
}

measure_latency_of() { # READER ROUND
    local source=paced-$1-$2 output=paced-out-$1-$2 dead=paced-dead-$1-$2 log=$work/latency-$1.log
    local events=$((rate * (settle_seconds + load_seconds))) started before after
    create "$source" message.timestamp.type=LogAppendTime
    create "$output" message.timestamp.type=LogAppendTime
    create "$dead"
    started=$(now_ms)
    start_pipeline "$log" --source.topic "$source" --source.reader "$1" --output.topic "$output" \
        --dead_letter.topic "$dead" --assignment.mode static --offsets.path "$work/offsets-latency-$1-$2"
    await "$started" "$log" ready readiness
    "$pipeline" generate --kafka.brokers "$brokers" --source.topic "$source" --rate "$rate" --count "$events" \
        >"$work/generate.log" 2>&1 &
    feeding=$!
    sleep "$settle_seconds"
    before=$(cpu_ms "$measured")
    sleep "$load_seconds"
    after=$(cpu_ms "$measured")
    wait "$feeding" || gave_up generate "$work/generate.log"
    feeding=""
    await "$started" "$log" "$events" routed
    stop_measured
    awk '{ printf "%.2f CPU s (%.2f user, %.2f system) in %d s; ", ($3 + $4 - $1 - $2) / 1000, ($3 - $1) / 1000,
           ($4 - $2) / 1000, seconds }' seconds="$load_seconds" <<<"$before $after" >>"$work/latency-$1.results"
    "$latency" "$brokers" "$source" "$output" "$settle_seconds" >>"$work/latency-$1.results"
    tail -n 1 "$work/latency-$1.results" >&2
    drop "$source" "$output" "$dead"
}

report_latency() {
    local reader
    printf '\nlatency at %s events/s, a line a round\n' "$rate"
    for reader in rskafka wire; do sed "s/^/$reader  /" "$work/latency-$reader.results"; done
}
