# shellcheck shell=bash
# What exactly once costs at full load: the same pipeline, by the same reader, with the same offset
# store; only the guarantee differs. CPU time is read when every offset is committed. Beside it stands Kafka
# Streams, with at_least_once and (streams_eos) with exactly_once_v2.

guarantees=(at_least_once exactly_once)

prepare_guarantees() {
    if prepare_streams; then guarantees+=(streams streams_eos); fi
}

# The first transactions of all make the broker's own topics.
warm_up_guarantees() { measure_guarantee exactly_once warm; }

measure_guarantees() { # ROUND
    local guarantee
    for guarantee in $(in_turn "$1" "${guarantees[@]}"); do measure_guarantee "$guarantee" "$1"; done
}

measure_guarantee() { # GUARANTEE ROUND
    create "out-$1-$2"
    create "dead-$1-$2"
    case $1 in
        streams) measure_streams "$1" at_least_once "$2" ;;
        streams_eos) measure_streams "$1" exactly_once_v2 "$2" ;;
        *) measure_committed "$1" "$2" ;;
    esac
    drop "out-$1-$2" "dead-$1-$2"
}

measure_committed() { # GUARANTEE ROUND
    local started wall log=$work/$1.log
    started=$(now_ms)
    start_pipeline "$log" --source.topic user-login --source.reader wire --output.topic "out-$1-$2" \
        --dead_letter.topic "dead-$1-$2" --offsets.store group --group.id "bench-$1-$2" --delivery.guarantee "$1"
    await "$started" "$log" "$count" routed
    wall=$(($(now_ms) - started))
    await "$started" "$log" "$count" committed
    finish "$1" "$wall"
}

report_guarantees() {
    printf '\nCPU time of a record by guarantee, read by wire, offsets in the group\n'
    report at_least_once <"$work/at_least_once.results"
    report exactly_once <"$work/exactly_once.results"
    ratio exactly_once at_least_once "exactly once : at least once"
    if [[ " ${guarantees[*]} " == *" streams "* ]]; then
        report_streams streams
        report_streams streams_eos
        ratio streams_eos streams "Kafka Streams, exactly once : at least once"
        ratio streams_eos exactly_once "exactly once, Kafka Streams : the pipeline"
    fi
}
