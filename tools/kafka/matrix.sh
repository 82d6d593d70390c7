#!/usr/bin/env bash
# Runs the release binary against real brokers of several Kafka versions, one after another, and prints a table of
# what went through. `tools/kafka/matrix.sh help` says how. It takes minutes a version, so `make test` leaves it out.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
jars=${MATRIX_JARS:-$root/.kafka/versions}  # a folder for each version
program=${BIN:-$root/target/release/login-pipeline}
work=${MATRIX_DIR:-$(mktemp -d)}
port=${MATRIX_PORT:-29092}
records=${MATRIX_RECORDS:-30000}
versions=(2.8.2 3.3.2 3.9.1 4.0.2 4.3.1)
modes=(default wire group exactly_once topic_store dlq)
reading=4.3.1 # whose console consumer counts: its client reads from all of them

usage() {
    cat <<TEXT
usage: matrix.sh [VERSION ...]
Without versions: ${versions[*]}
For each: ${modes[*]}
Needs Java 17 or newer, Maven the first time, curl, and a release binary (cargo build --release, or BIN=PATH).
Environment: BIN, MATRIX_JARS, MATRIX_DIR (logs), MATRIX_PORT, MATRIX_RECORDS.
TEXT
}

die() {
    printf 'matrix.sh: %s\n' "$*" >&2
    exit 1
}

# ---- brokers

fetch() { # VERSION
    local into=$jars/$1
    [[ -f $into/.complete ]] && return
    command -v mvn >/dev/null || die "Maven (mvn) is not installed; it fetches Kafka's jars"
    mkdir -p "$into"
    printf 'fetching the jars of Kafka %s\n' "$1" >&2
    mvn -q -B -f "$here/pom.xml" -Dkafka.version="$1" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$into" >&2 || die "Maven could not fetch the jars of Kafka $1"
    : >"$into/.complete"
}

# In the background: `exec`, so that its process is Java's and ends by a signal to it.
java_with() { # [exec] VERSION LEVEL CLASS ARGS...
    local by=()
    if [[ $1 == exec ]]; then
        by=(exec)
        shift
    fi
    local version=$1 level=$2
    shift 2
    ${by[@]+"${by[@]}"} java -Xmx768m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars/$version/*" \
        -Dlog4j2.configurationFile="$here/log4j2.properties" -Dkafka.log.level="$level" "$@"
}

has_kraft() { # VERSION: whether exactly once works without ZooKeeper
    [[ $1 != 2.* ]]
}

settings() { # VERSION FOLDER
    cat <<TEXT
listeners=PLAINTEXT://127.0.0.1:$port$(if has_kraft "$1"; then printf ',CONTROLLER://127.0.0.1:%s' $((port + 1)); fi)
log.dirs=$2/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
TEXT
    if has_kraft "$1"; then
        cat <<TEXT
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
TEXT
    else
        printf 'broker.id=1\nzookeeper.connect=127.0.0.1:%s\n' $((port + 1))
    fi
    # Members of KIP-848 are told their session by the broker; before 4.0 these keys are unknown and ignored.
    printf 'group.consumer.min.session.timeout.ms=6000\ngroup.consumer.session.timeout.ms=6000\n'
    printf 'group.consumer.heartbeat.interval.ms=2000\ngroup.consumer.min.heartbeat.interval.ms=1000\n'
}

pids=()

end_all() {
    local pid
    for pid in ${pids[@]+"${pids[@]}"}; do kill -9 "$pid" 2>/dev/null || true; done
    for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" 2>/dev/null || true; done
    pids=()
}
trap end_all EXIT

port_open() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

until_open() { # PORT WHO LOG
    local deadline=$((SECONDS + 90))
    until port_open "$1"; do
        ((SECONDS < deadline)) || die "$2 does not listen after 90 s; see $3"
        sleep 0.2
    done
}

start() { # VERSION
    local folder=$work/$1
    port_open "$port" && die "port $port is taken: MATRIX_PORT names another"
    rm -rf -- "$folder"
    mkdir -p "$folder/data"
    settings "$1" "$folder" >"$folder/server.properties"
    if has_kraft "$1"; then
        java_with "$1" WARN kafka.tools.StorageTool format --cluster-id bG9naW4tcGlwZWxpbmUtMQ \
            --config "$folder/server.properties" >"$folder/format.log" 2>&1 || die "see $folder/format.log"
    else
        printf 'dataDir=%s\nclientPort=%s\nadmin.enableServer=false\n' "$folder/zookeeper" $((port + 1)) >"$folder/zk.properties"
        java_with exec "$1" INFO org.apache.zookeeper.server.quorum.QuorumPeerMain "$folder/zk.properties" \
            >"$folder/zookeeper.log" 2>&1 &
        pids+=($!)
        until_open $((port + 1)) ZooKeeper "$folder/zookeeper.log"
    fi
    java_with exec "$1" INFO kafka.Kafka "$folder/server.properties" >"$folder/server.log" 2>&1 &
    pids+=($!)
    until_open "$port" "Kafka $1" "$folder/server.log"
}

# ---- one mode: topics of its own, records, a run, and a count of what came of them

name=
log=
flags() {
    printf '%s\n' --kafka.brokers "127.0.0.1:$port" --source.topic "$name" --output.topic "$name-out" \
        --dead_letter.topic "$name-dead" --topics.create missing --topics.replication 1
}

generate() { # RATE BAD
    local flags
    mapfile -t flags < <(flags)
    "$program" generate --count "$records" --rate "$1" --bad "$2" --partitions 6 --keyed "${flags[@]}" >>"$log" 2>&1
}

run() { # PORT FLAGS...: in the background; its process is `ran`
    local admin=$1 flags
    shift
    mapfile -t flags < <(flags)
    "$program" run --admin.listen "127.0.0.1:$admin" --group.id "$name" "${flags[@]}" "$@" >>"$log" 2>&1 &
    ran=$!
    pids+=("$ran")
}

metric() { # PORT NAME: the sum over all labels
    curl -s "127.0.0.1:$1/metrics" | awk -v name="$2" 'index($1, name) == 1 {sum += $2; n = 1} END {if (n) printf "%d", sum}'
}

until_read() { # PORT...: until all partitions are assigned to them, and nothing is left to read
    local deadline=$((SECONDS + 120)) next lag admin
    while true; do
        next=0 lag=0
        for admin in "$@"; do
            next=$((next + $(metric "$admin" login_pipeline_source_next_offset)+0))
            lag=$((lag + $(metric "$admin" login_pipeline_source_lag_records)+0))
        done
        ((next >= records && lag == 0)) && return
        ((SECONDS < deadline)) || { say="not all read after 120 s"; return 1; }
        sleep 0.5
    done
}

end() { # PID
    local code=0
    kill -TERM "$1"
    wait "$1" || code=$?
    ((code == 0)) || { say="exit code $code"; return 1; }
}

# Lines of the output topic, committed ones, without what differs from copy to copy.
outputs() {
    java_with "$reading" ERROR org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "127.0.0.1:$port" \
        --topic "$name-out" --from-beginning --isolation-level read_committed --timeout-ms 8000 2>>"$log" |
        sed -E 's/,"processed_at".*//'
}

# How many dead letters there are. Only for what is written without transactions, whose marks have offsets too.
dead() {
    java_with "$reading" ERROR org.apache.kafka.tools.GetOffsetShell --bootstrap-server "127.0.0.1:$port" \
        --topic "$name-dead" 2>>"$log" | awk -F: '{sum += $3} END {print sum + 0}'
}

account() { # MAY_DUPLICATE with_bad|good: says what was lost and duplicated, and fails where it may not be
    local all distinct bad lost duplicated
    outputs >"$work/outputs"
    all=$(wc -l <"$work/outputs")
    distinct=$(sort -u "$work/outputs" | wc -l)
    bad=0
    if [[ $2 == with_bad ]]; then bad=$(dead); fi
    lost=$((records - distinct - bad)) duplicated=$((all - distinct))
    say="lost $lost, duplicated $duplicated"
    ((lost == 0)) && { [[ $1 == yes ]] || ((duplicated == 0)); }
}

mode_default() {
    generate 20000 0.02 && run $((port + 2)) && until_read $((port + 2)) && end "$ran" && account no with_bad
}

mode_wire() {
    generate 20000 0.02 && run $((port + 2)) --source.reader wire && until_read $((port + 2)) && end "$ran" && account no with_bad
}

mode_topic_store() {
    generate 20000 0.02 && run $((port + 2)) --assignment.mode static --offsets.store topic --offsets.topic "$name-offsets" &&
        until_read $((port + 2)) && end "$ran" && account no with_bad
}

mode_group() { # two share, one is killed
    local killed other
    generate 4000 0 &
    local generating=$!
    sleep 1
    run $((port + 2)) --group.session_timeout 6s --group.heartbeat_interval 1s
    killed=$ran
    run $((port + 3)) --group.session_timeout 6s --group.heartbeat_interval 1s
    other=$ran
    sleep 4
    kill -9 "$killed"
    wait "$killed" 2>/dev/null || true
    wait "$generating" || { say="generate failed"; return 1; }
    until_read $((port + 3)) && end "$other" && account yes good
}

mode_exactly_once() { # killed in the middle, and started again
    generate 4000 0 &
    local generating=$! more=(--delivery.guarantee exactly_once --group.session_timeout 6s --group.heartbeat_interval 1s)
    sleep 1
    run $((port + 2)) "${more[@]}"
    sleep 4
    if ! kill -9 "$ran" 2>/dev/null; then
        wait "$generating" || true
        say=$(grep -o 'login-pipeline: .*' "$log" | tail -n 1 | cut -c 17-)
        return 1
    fi
    wait "$ran" 2>/dev/null || true
    run $((port + 3)) "${more[@]}"
    wait "$generating" || { say="generate failed"; return 1; }
    until_read $((port + 3)) && end "$ran" && account no good
}

mode_dlq() { # dead letters are counted, shown, and replayed in dry run
    local flags
    mapfile -t flags < <(flags)
    generate 20000 0.02 && run $((port + 2)) && until_read $((port + 2)) && end "$ran" || return 1
    "$program" dlq list "${flags[@]}" 2>>"$log" >"$work/listed" || { say="dlq list failed"; return 1; }
    "$program" dlq replay --dry-run "${flags[@]}" 2>>"$log" >"$work/replayed" || { say="dlq replay failed"; return 1; }
    say="$(dead) dead letters listed, dry run: $(head -n 1 "$work/replayed")"
}

try() { # VERSION MODE
    name=${2//_/-}
    log=$work/$1/$2.log
    say=""
    if "mode_$2"; then printf 'ok: %s' "$say"; else printf 'FAILED: %s (see %s)' "$say" "$log"; fi
}

main() {
    [[ -x $program ]] || die "no binary at $program: cargo build --release, or BIN=PATH"
    (($# > 0)) && versions=("$@")
    fetch "$reading"
    local version mode outcome failed=0
    for version in "${versions[@]}"; do
        fetch "$version"
        start "$version"
        for mode in "${modes[@]}"; do
            # Not in a subshell: what it starts must end with this script.
            try "$version" "$mode" >"$work/outcome"
            outcome=$(<"$work/outcome")
            [[ $outcome == ok* ]] || failed=$((failed + 1))
            printf '%-6s  %-12s  %s\n' "$version" "$mode" "$outcome"
        done
        end_all
    done
    ((failed == 0)) || exit 1
}

case ${1:-} in
    help | -h | --help) usage ;;
    *) main "$@" ;;
esac
