# shellcheck shell=bash
# What the parts of the bench share. Sourced by run.sh, which sets what is not set here.

say() { printf '%s\n' "$*" >&2; }

gave_up() { # NAME LOG
    say "$1 failed, or took more than 10 minutes; its log ends:"
    tail -n 30 "$2" >&2
    exit 1
}

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

machine() { # as `make dist` calls it
    local machine
    machine=$(uname -m)
    printf '%s' "${machine%l}" # armv7l
}

find_dist_binary() { # that of this machine, where dist/ has exactly one
    local found
    mapfile -t found < <(compgen -G "dist/login-pipeline-*-$(machine)-linux-musl")
    if ((${#found[@]} == 1)); then printf '%s' "${found[0]}"; fi
}

in_turn() { # ROUND NAME...: forwards, then backwards, so that nobody is always the first
    local round=$1 n
    shift
    if ((round % 2 == 1)); then
        printf '%s\n' "$@"
    else
        for ((n = $#; n > 0; n--)); do printf '%s\n' "${!n}"; done
    fi
}

# ---- topics

topic_command() {
    tools/kafka/kafka.sh cli org.apache.kafka.tools.TopicCommand --bootstrap-server "$brokers" "$@" >/dev/null
}

create() { # TOPIC [CONFIG]
    topic_command --create --topic "$1" --partitions "$partitions" ${2:+--config "$2"}
}

drop() { # TOPIC...
    local topics=$*
    topic_command --delete --topic "(${topics// /|})" # a regular expression
}

# ---- the process that is measured

now_ms() { printf '%s' $((${EPOCHREALTIME/[.,]/} / 1000)); }

cpu_ms() { # PID: user and system time
    local stat fields tick
    tick=$(getconf CLK_TCK)
    stat=$(<"/proc/$1/stat")
    # Behind the name in parentheses; user and system time are the 14th and 15th field.
    read -ra fields <<<"${stat##*) }"
    printf '%s %s' $((fields[11] * 1000 / tick)) $((fields[12] * 1000 / tick))
}

peak_kb() { awk '/^VmHWM:/ { print $2 }' "/proc/$1/status"; }

in_time() { # STARTED
    [[ -d /proc/$measured ]] && (($(now_ms) - $1 < 600000))
}

# Appends `user_ms system_ms wall_ms peak_kb` to the results of NAME, and ends the process.
finish() { # NAME WALL_MS
    printf '%s %s %s\n' "$(cpu_ms "$measured")" "$2" "$(peak_kb "$measured")" >>"$work/$1.results"
    tail -n 1 "$work/$1.results" | report "$1" >&2
    stop_measured
}

stop_measured() {
    kill -TERM "$measured" 2>/dev/null || true
    wait "$measured" 2>/dev/null || true
    measured=""
}

# A program that says when it is done, and waits for the end of its input then.
measure_drained() { # NAME COMMAND...
    local name=$1 started log=$work/$1.log
    shift
    mkfifo "$work/input"
    : >"$log" # what another round said there is no answer
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

# ---- a pipeline

start_pipeline() { # LOG ARGS...: sets measured and admin
    local log=$1
    shift
    admin=$(free_port)
    "$pipeline" run --kafka.brokers "$brokers" --admin.listen "127.0.0.1:$admin" "$@" </dev/null >"$log" 2>&1 &
    measured=$!
}

ask() { # PATH: what the pipeline's admin port says; nothing where it does not yet
    local answer
    exec 7<>"/dev/tcp/127.0.0.1/$admin" || return 0
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&7
    answer=$(cat <&7)
    exec 7>&-
    printf '%s' "$answer"
}

routed() { # how many records it is done with: written, and acknowledged by the brokers
    ask /metrics 2>/dev/null |
        awk '/^login_pipeline_routed_records_total[{ ]/ { sum += $NF } END { printf "%d", sum }'
}

committed() { # how far its partitions are committed, all together
    ask /status 2>/dev/null | { grep -o '"committed": *[0-9]*' || true; } |
        awk -F : '{ sum += $2 } END { printf "%d", sum }'
}

readiness() { if [[ $(ask /readyz 2>/dev/null) == *" 200 "* ]]; then printf ready; fi; }

await() { # STARTED LOG WANTED COMMAND: until the command prints what is wanted
    until [[ $($4) == "$3" ]]; do
        in_time "$1" || gave_up "the pipeline" "$2"
        sleep 0.1
    done
}

# All records once through a pipeline, as fast as it can.
measure_reader() { # NAME READER ROUND
    local started log=$work/$1.log
    started=$(now_ms)
    start_pipeline "$log" --source.topic user-login --source.reader "$2" --output.topic "out-$1-$3" \
        --dead_letter.topic "dead-$1-$3" --assignment.mode static --offsets.path "$work/offsets-$1-$3"
    await "$started" "$log" "$count" routed
    finish "$1" $(($(now_ms) - started))
}

# ---- what comes of it

report() { # NAME, lines of results on stdin
    awk -v name="$1" -v count="$count" '
        { user += $1; sys += $2; wall += $3; if ($4 > peak) peak = $4; runs++ }
        END {
            million = runs * count / 1000
            printf "%-14s %5.2f CPU s per million records (%4.2f user, %4.2f system) %9.0f records/s %6.1f MiB peak\n",
                name, (user + sys) / million, user / million, sys / million, count * runs / wall * 1000, peak / 1024
        }'
}

# How many times the CPU time of OTHER a NAME takes: of all rounds together, and of the best and the worst.
ratio() { # NAME OTHER TEXT
    paste -d ' ' "$work/$1.results" "$work/$2.results" | awk -v text="$3" '
        { mine = $1 + $2; other = $5 + $6; mines += mine; others += other; ratio = mine / other
          if (NR == 1 || ratio < least) least = ratio; if (ratio > most) most = ratio }
        END { printf "%s: %.2f times the CPU", text, mines / others
              if (NR > 1) printf " (%.2f to %.2f in %d rounds)", least, most, NR
              print "" }'
}
