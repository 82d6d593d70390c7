# shellcheck shell=bash
# What a record costs, as CPU time of the process, while it has as many as it can take:
#   copy_loop  rskafka alone, which looks into no record
#   rdkafka    the pipeline's work on librdkafka
#   streams    the same on Kafka Streams
#   rskafka, wire  the pipeline, by each of its readers

contestants=(copy_loop)

prepare_speed() {
    if prepare_rdkafka; then contestants+=(rdkafka); fi
    if prepare_streams; then contestants+=(streams); fi
    contestants+=(rskafka wire)
}

prepare_rdkafka() { # where that can't be, says why and fails
    local log=$work/rdkafka-build.log missing="" tool
    for tool in cc make; do command -v "$tool" >/dev/null || missing+=" $tool"; done
    if [[ -z $missing ]] && cargo build --release --locked --quiet --manifest-path bench/rdkafka/Cargo.toml \
        --target-dir "$target/rdkafka" >"$log" 2>&1; then
        rdkafka=$target/rdkafka/release/rdkafka-login
        return
    fi
    say "rdkafka is left out: librdkafka can't be built here${missing:+, for want of:$missing}"
    if [[ -z $missing ]]; then tail -n 5 "$log" >&2; fi
    return 1
}

warm_up_speed() { measure_speed 0; }

measure_speed() { # ROUND
    local name
    for name in $(in_turn "$1" "${contestants[@]}"); do
        create "out-$name-$1"
        create "dead-$name-$1"
        case $name in
            copy_loop) measure_drained "$name" "$copy_loop" "$brokers" user-login "out-$name-$1" ;;
            rdkafka)
                measure_drained "$name" "$rdkafka" "$brokers" user-login "out-$name-$1" "dead-$name-$1" "rdkafka-$1"
                ;;
            streams) measure_streams streams at_least_once "$1" ;;
            *) measure_reader "$name" "$name" "$1" ;;
        esac
        drop "out-$name-$1" "dead-$name-$1"
    done
}

report_speed() {
    local name
    printf '\nCPU time of a record\n'
    for name in "${contestants[@]}"; do
        if [[ $name == streams ]]; then report_streams streams; else report "$name" <"$work/$name.results"; fi
    done
    for name in rskafka wire; do ratio "$name" copy_loop "the pipeline by $name : copy loop"; done
    for name in rdkafka streams; do
        if [[ " ${contestants[*]} " == *" $name "* ]]; then ratio "$name" wire "$name : the pipeline by wire"; fi
    done
}
