# shellcheck shell=bash
# What the admin port costs: a run at full load with and without a crowd at the port (bench/connections.rs),
# which shares the machine, and an idle pipeline with and without somebody at its page.

idle_connections=1000
slow_connections=200
watch_seconds=20

prepare_admin() { connections=$target/release/connections; }

warm_up_admin() { measure_crowd alone warm; }

measure_admin() { # ROUND
    local name
    for name in $(in_turn "$1" alone crowd); do measure_crowd "$name" "$1"; done
    measure_page "$1"
}

measure_crowd() { # alone|crowd ROUND
    local started wall log=$work/admin-$1.log
    create "out-$1-$2"
    create "dead-$1-$2"
    started=$(now_ms)
    start_pipeline "$log" --source.topic user-login --source.reader wire --output.topic "out-$1-$2" \
        --dead_letter.topic "dead-$1-$2" --assignment.mode static --offsets.path "$work/offsets-$1-$2"
    if [[ $1 == crowd ]]; then
        mkfifo "$work/crowd"
        "$connections" "127.0.0.1:$admin" "$idle_connections" "$slow_connections" \
            <"$work/crowd" >"$work/crowd.log" 2>&1 &
        feeding=$!
        exec 8>"$work/crowd"
    fi
    await "$started" "$log" "$count" routed
    wall=$(($(now_ms) - started))
    if [[ $1 == crowd ]]; then
        printf '%s sockets and files open; the crowd itself took %s ms (user, system); ' \
            "$(ask /metrics | awk '$1 == "process_open_fds" { print $2 }')" "$(cpu_ms "$feeding")" >>"$work/crowd.said"
        exec 8>&-
        wait "$feeding" || gave_up connections "$work/crowd.log"
        feeding=""
        cat "$work/crowd.log" >>"$work/crowd.said"
        rm "$work/crowd"
    fi
    finish "$1" "$wall"
    drop "out-$1-$2" "dead-$1-$2"
}

measure_page() { # ROUND
    local topic=nothing-$1 log=$work/page.log begun nobody viewer
    create "$topic"
    create "out-$topic"
    create "dead-$topic"
    start_pipeline "$log" --source.topic "$topic" --source.reader wire --output.topic "out-$topic" \
        --dead_letter.topic "dead-$topic" --assignment.mode static --offsets.path "$work/offsets-$topic"
    await "$(now_ms)" "$log" ready readiness
    sleep 2
    begun=$(cpu_us "$measured")
    sleep "$watch_seconds"
    nobody=$(($(cpu_us "$measured") - begun))
    exec 6<>"/dev/tcp/127.0.0.1/$admin"
    printf 'GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n' >&6
    cat <&6 >/dev/null &
    feeding=$!
    begun=$(cpu_us "$measured")
    sleep "$watch_seconds"
    viewer=$(($(cpu_us "$measured") - begun))
    kill "$feeding"
    wait "$feeding" 2>/dev/null || true
    feeding=""
    exec 6>&-
    stop_measured
    printf '%s %s\n' "$nobody" "$viewer" >>"$work/page.results"
    drop "$topic" "out-$topic" "dead-$topic"
}

cpu_us() { # PID: of all its threads, finer than the clock of cpu_ms
    cat "/proc/$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%d", sum / 1000 }'
}

report_admin() {
    printf '\nat full load, read by wire, with %s idle and %s slow connections at the admin port, and without\n' \
        "$idle_connections" "$slow_connections"
    report alone <"$work/alone.results"
    report crowd <"$work/crowd.results"
    ratio crowd alone "crowd : alone"
    cat "$work/crowd.said"
    printf 'an idle pipeline, CPU time in %s s\n' "$watch_seconds"
    awk '{ printf "nobody at the page %.1f ms, one viewer %.1f ms\n", $1 / 1000, $2 / 1000 }' "$work/page.results"
}
