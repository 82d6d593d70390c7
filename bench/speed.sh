# shellcheck shell=bash
# What a record costs, as CPU time of the process, while it has as many as it can take:
#   copy_loop  rskafka alone, which looks into no record
#   rdkafka    the pipeline's work on librdkafka
#   rskafka, wire  the pipeline, by each of its readers

contestants=(copy_loop rdkafka rskafka wire)

prepare_speed() {
    local log=$work/rdkafka-build.log missing=""
    for tool in cc make; do command -v "$tool" >/dev/null || missing+=" $tool"; done
    if [[ -z $missing ]] && cargo build --release --locked --quiet --manifest-path bench/rdkafka/Cargo.toml \
        --target-dir "$target/rdkafka" >"$log" 2>&1; then
        rdkafka=$target/rdkafka/release/rdkafka-login
        return
    fi
    say "rdkafka is left out: librdkafka can't be built here${missing:+, for want of:$missing}"
    if [[ -z $missing ]]; then tail -n 5 "$log" >&2; fi
    contestants=(copy_loop rskafka wire)
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
            *) measure_reader "$name" "$name" "$1" ;;
        esac
        drop "out-$name-$1" "dead-$name-$1"
    done
}

# A program that says when it is done, and waits for the end of its input then.
measure_drained() { # NAME COMMAND...
    local name=$1 started log=$work/$1.log
    shift
    mkfifo "$work/input"
    started=$(now_ms)
    "$@" <"$work/input" >"$log" 2>&1 &
    measured=$!
    exec 8>"$work/input"
    until grep -q "^drained $count\$" "$log"; do
        in_time "$started" || gave_up "$name" "$log"
        sleep 0.05
    done
    finish "$name" $(($(now_ms) - started))
    exec 8>&-
    rm "$work/input"
}

report_speed() {
    local name
    printf '\nCPU time of a record\n'
    for name in "${contestants[@]}"; do report "$name" <"$work/$name.results"; done
    for name in rskafka wire; do ratio "$name" copy_loop "the pipeline by $name : copy loop"; done
    if [[ " ${contestants[*]} " == *" rdkafka "* ]]; then ratio wire rdkafka "the pipeline by wire : rdkafka"; fi
}
