#!/usr/bin/env bash
# A real local Apache Kafka: one broker, or three, in KRaft mode, without ZooKeeper and without Docker.
# `tools/kafka/kafka.sh help` says how.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
state=${KAFKA_STATE:-$root/.kafka}          # data, logs and pid files
libs=${KAFKA_LIBS:-$root/.kafka/libs}       # the jars
version=4.3.1                               # as in pom.xml
image=apache/kafka:$version
archive=$libs.jsa                           # what a JVM has learned of the jars' classes: make_archive
cluster_id=bG9naW4tcGlwZWxpbmUtMQ
heap=${KAFKA_HEAP:--Xmx1g}

usage() {
    cat <<TEXT
usage: kafka.sh COMMAND
  fetch                           take Kafka's jars from Maven Central into .kafka/libs
  up [--nodes 1|3] [--port 9092] [--transactions 1|2]
                                  start the brokers, wait until they answer, print their addresses;
                                  --transactions is the transaction.version that a new cluster gets
  down [--wipe]                   stop them; --wipe removes their data as well
  status                          say what runs; exits 3 where nothing does
  cli TOOL ARGS...                run one of Kafka's own tools against anything, such as
                                  cli org.apache.kafka.tools.TopicCommand --bootstrap-server ADDRESS --list
Needs Java 17 or newer, and Maven the first time; or else Docker.
Environment: KAFKA_STATE, KAFKA_LIBS, KAFKA_HEAP.
TEXT
}

die() {
    printf 'kafka.sh: %s\n' "$*" >&2
    exit 1
}

# ---- what there is to run it with

java_major() {
    local line
    line=$(java -version 2>&1 | head -n 1) || return 1
    [[ $line =~ \"(1\.)?([0-9]+) ]] || return 1
    printf '%s' "${BASH_REMATCH[2]}"
}

have_java() {
    local major
    command -v java >/dev/null && major=$(java_major) && ((major >= 17))
}

have_jars() { [[ -f $libs/.complete-$version || -n ${KAFKA_LIBS:-} && -f $libs/kafka_2.13-$version.jar ]]; }

have_docker() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

# Prints `java` or `docker`; where neither can be, says what is missing.
mode() {
    if have_java && { have_jars || command -v mvn >/dev/null; }; then
        printf 'java'
        return
    fi
    if have_docker; then
        printf 'docker'
        return
    fi
    local missing=()
    if ! command -v java >/dev/null; then
        missing+=("Java (17 or newer) is not installed")
    elif ! have_java; then
        missing+=("Java is too old: $(java -version 2>&1 | head -n 1); 17 or newer is needed")
    fi
    if ! have_jars && ! command -v mvn >/dev/null; then
        missing+=("Maven (mvn) is not installed")
    fi
    if ! command -v docker >/dev/null; then
        missing+=("and there is no Docker to use instead")
    else
        missing+=("and Docker's daemon does not answer")
    fi
    local text
    text=$(printf '%s; ' "${missing[@]}")
    die "can't run Kafka here: ${text%; }"
}

fetch() {
    have_jars && have_archive && return
    have_jars || command -v mvn >/dev/null || die "Maven (mvn) is not installed; it fetches Kafka's jars"
    mkdir -p "$libs"
    # Two callers at once (cargo's test binaries) must not write the same files.
    exec 9>"$libs/.lock"
    if command -v flock >/dev/null; then flock 9; fi
    if ! have_jars; then
        printf 'fetching the jars of Kafka %s into %s\n' "$version" "$libs" >&2
        mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$libs" >&2 ||
            die "Maven could not fetch Kafka's jars; its own words are above"
        : >"$libs/.complete-$version"
    fi
    # Without one all the same: an empty one says that it was tried.
    have_archive || make_archive || : >"$archive"
    exec 9>&-
}

# A JVM that has the archive starts a broker with half the CPU. One that can't use it (it is of another JDK, or of
# other jars) says nothing and starts without.
learned=(-XX:SharedArchiveFile="$archive" -Xlog:cds=off,cds+dynamic=off)

have_archive() { [[ -f $archive && ! $libs/.complete-$version -nt $archive ]]; }

# Starts a broker of its own and stops it, whose JVM writes down the classes that it has loaded.
make_archive() (
    state=$(mktemp -d) nodes=1 transactions=2 port=$((20000 + RANDOM % 10000))
    trap 'rm -rf -- "$state"' EXIT
    learned=(-Xlog:cds=off)
    format_java_node 1
    learned=(-XX:ArchiveClassesAtExit="$state/archive" -Xlog:cds=off,cds+dynamic=off -XX:+UseSerialGC)
    start_java_node 1
    for ((i = 0; i < 600; i++)); do
        if ! running 1 || grep -qF 'Kafka Server started' "$state/node-1/server.log"; then break; fi
        sleep 0.1
    done
    kill -TERM "$(cat "$state/node-1/pid")" && wait "$(cat "$state/node-1/pid")" || true
    mv -- "$state/archive" "$archive"
)

kafka_java() { # LEVEL CLASS ARGS...
    local level=$1
    shift
    java "${learned[@]}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" -Dlog4j2.configurationFile="$here/log4j2.properties" \
        -Dkafka.log.level="$level" "$@"
}

# ---- the cluster's shape, written down so that a second `up`, `down` and `status` know it

load_shape() { # sets nodes, port, how, transactions; fails where there is no cluster
    [[ -f $state/cluster ]] || return 1
    read -r nodes port how transactions <"$state/cluster"
    transactions=${transactions:-2}
}

bootstrap() {
    local list="" i
    for ((i = 0; i < nodes; i++)); do list+=",127.0.0.1:$((port + i))"; done
    printf '%s' "${list#,}"
}

voters() {
    local list="" i host
    for ((i = 1; i <= nodes; i++)); do
        host=127.0.0.1
        list+=",$i@$host:$((port + 999 + i))"
    done
    printf '%s' "${list#,}"
}

settings() { # NODE DATA_FOLDER
    local node=$1 data=$2 replicas=1 in_sync=1
    if ((nodes == 3)); then replicas=3 in_sync=2; fi
    cat <<TEXT
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$(voters)
listeners=PLAINTEXT://127.0.0.1:$((port + node - 1)),CONTROLLER://127.0.0.1:$((port + 999 + node))
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$data
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$in_sync
group.initial.rebalance.delay.ms=0
TEXT
}

# ---- with Java

running() { # NODE
    local pid
    pid=$(cat "$state/node-$1/pid" 2>/dev/null) || return 1
    # The number may have gone to another program since: look at what it is.
    command_line "$pid" | grep -qF "$state/node-$1/server.properties"
}

command_line() { # PID
    if [[ -d /proc/self ]]; then
        { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null
    else
        ps -p "$1" -o args= # macOS
    fi
}

start_java_nodes() {
    local i formatting=() pid
    for ((i = 1; i <= nodes; i++)); do
        if ! running "$i"; then
            format_java_node "$i" &
            formatting+=($!)
        fi
    done
    for pid in ${formatting[@]+"${formatting[@]}"}; do wait "$pid"; done
    for ((i = 1; i <= nodes; i++)); do start_java_node "$i"; done
}

format_java_node() { # NODE
    local folder=$state/node-$1
    mkdir -p "$folder/data"
    settings "$1" "$folder/data" >"$folder/server.properties"
    if [[ -f $folder/data/meta.properties ]]; then return; fi
    kafka_java WARN kafka.tools.StorageTool format --cluster-id "$cluster_id" \
        --feature "transaction.version=$transactions" --config "$folder/server.properties" >"$folder/format.log" 2>&1 ||
        die "node $1 could not be formatted; see $folder/format.log"
}

start_java_node() { # NODE
    local folder=$state/node-$1
    if running "$1"; then return; fi
    # 9 is the lock of a caller, never the broker's.
    nohup java "${learned[@]}" "$heap" -cp "$libs/*" \
        -Dlog4j2.configurationFile="$here/log4j2.properties" -Dkafka.log.level=INFO \
        kafka.Kafka "$folder/server.properties" \
        >>"$folder/server.log" 2>&1 </dev/null 9>&- &
    printf '%s\n' $! >"$folder/pid"
}

stop_java_nodes() {
    local i pid waited
    for ((i = 1; i <= nodes; i++)); do
        if running "$i"; then kill -TERM "$(cat "$state/node-$i/pid")" 2>/dev/null || true; fi
    done
    for ((i = 1; i <= nodes; i++)); do
        waited=0
        while running "$i" && ((waited < 150)); do
            sleep 0.1
            waited=$((waited + 1))
        done
        if running "$i"; then
            pid=$(cat "$state/node-$i/pid")
            printf 'node %s did not stop in 15 s; killing it\n' "$i" >&2
            kill -KILL "$pid" 2>/dev/null || true
        fi
        rm -f "$state/node-$i/pid"
    done
}

# ---- with Docker: the same settings, mounted, on the host's network, so that addresses are the same

container() { printf 'login-pipeline-kafka-%s-%s' "$port" "$1"; }

running_container() { # NODE
    [[ $(docker inspect -f '{{.State.Running}}' "$(container "$1")" 2>/dev/null) == true ]]
}

start_docker_nodes() {
    local i
    for ((i = 1; i <= nodes; i++)); do start_docker_node "$i"; done
}

start_docker_node() { # NODE
    local folder=$state/node-$1
    if running_container "$1"; then return; fi
    docker rm -f "$(container "$1")" >/dev/null 2>&1 || true
    mkdir -p "$folder"
    settings "$1" /var/lib/kafka/data >"$folder/server.properties"
    docker volume create "$(container "$1")" >/dev/null
    # A new volume belongs to root; the image's user is appuser.
    docker run --rm --user root -v "$(container "$1"):/var/lib/kafka/data" \
        --entrypoint chown "$image" -R appuser /var/lib/kafka/data >/dev/null
    # shellcheck disable=SC2016 # "$0" and "$1" are for the shell in the container.
    docker run -d --name "$(container "$1")" --network host -e KAFKA_HEAP_OPTS="$heap" \
        -v "$(container "$1"):/var/lib/kafka/data" \
        -v "$folder/server.properties:/tmp/server.properties:ro" \
        --entrypoint /bin/bash "$image" -c '
            /opt/kafka/bin/kafka-storage.sh format --ignore-formatted \
                --cluster-id "$0" --feature "transaction.version=$1" --config /tmp/server.properties &&
            exec /opt/kafka/bin/kafka-server-start.sh /tmp/server.properties' \
        "$cluster_id" "$transactions" >/dev/null
}

stop_docker_nodes() { # WIPE
    local i
    for ((i = 1; i <= nodes; i++)); do
        docker stop -t 15 "$(container "$i")" >/dev/null 2>&1 || true
        docker rm -f "$(container "$i")" >/dev/null 2>&1 || true
        if [[ $1 == yes ]]; then docker volume rm "$(container "$i")" >/dev/null 2>&1 || true; fi
    done
}

# ---- the commands

node_runs() { if [[ $how == docker ]]; then running_container "$1"; else running "$1"; fi; }

port_open() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

wait_ready() {
    local i answering deadline=$((SECONDS + 90))
    for ((i = 1; i <= nodes; i++)); do
        until port_open $((port + i - 1)); do
            node_runs "$i" || die "node $i ended while starting; see $(log_of "$i")"
            ((SECONDS < deadline)) || die "node $i does not listen after 90 s; see $(log_of "$i")"
            sleep 0.2
        done
    done
    # Listening is not yet being in the cluster: ask for every broker's own answer.
    while true; do
        answering=$(cli org.apache.kafka.tools.BrokerApiVersionsCommand \
            --bootstrap-server "$(bootstrap)" 2>/dev/null | grep -c '(id: .* -> (' || true)
        ((answering < nodes)) || return 0
        ((SECONDS < deadline)) || die "$answering of $nodes brokers answer after 90 s; see $(log_of 1)"
        sleep 0.3
    done
}

log_of() {
    if [[ $how == docker ]]; then
        printf '"docker logs %s"' "$(container "$1")"
    else
        printf '%s' "$state/node-$1/server.log"
    fi
}

up() {
    local want_nodes=1 want_port=9092 want_transactions=2 i
    while (($# > 0)); do
        case $1 in
            --nodes) want_nodes=${2:?--nodes needs a number} ;;
            --port) want_port=${2:?--port needs a number} ;;
            --transactions) want_transactions=${2:?--transactions needs a number} ;;
            *) die "up: unknown argument $1" ;;
        esac
        shift 2
    done
    [[ $want_nodes == 1 || $want_nodes == 3 ]] || die "--nodes is 1 or 3, not $want_nodes"
    [[ $want_transactions == 1 || $want_transactions == 2 ]] || die "--transactions is 1 or 2, not $want_transactions"
    if ! [[ $want_port =~ ^[1-9][0-9]{3,4}$ ]] || ((want_port < 1024 || want_port > 64000)); then
        die "--port is from 1024 to 64000, not $want_port"
    fi

    if load_shape; then
        if [[ "$nodes $port" != "$want_nodes $want_port" ]]; then
            for ((i = 1; i <= nodes; i++)); do
                if node_runs "$i"; then
                    die "a cluster of $nodes on port $port runs already; stop it first: kafka.sh down"
                fi
            done
            die "$state holds the data of a cluster of $nodes on port $port; remove it first: kafka.sh down --wipe"
        fi
        if [[ $transactions != "$want_transactions" ]]; then
            die "the cluster in $state has transactions of version $transactions; remove it first: kafka.sh down --wipe"
        fi
    fi
    how=$(mode)
    nodes=$want_nodes port=$want_port transactions=$want_transactions
    if [[ $how == java ]]; then fetch; fi
    for ((i = 1; i <= nodes; i++)); do
        if ! node_runs "$i" && port_open $((port + i - 1)); then
            die "port $((port + i - 1)) is taken by another program; choose one with --port"
        fi
    done
    mkdir -p "$state"
    printf '%s %s %s %s\n' "$nodes" "$port" "$how" "$transactions" >"$state/cluster"
    "start_${how}_nodes"
    wait_ready
    bootstrap
    printf '\n'
}

down() {
    local wipe=no i
    case ${1:-} in
        "") ;;
        --wipe) wipe=yes ;;
        *) die "down: unknown argument $1" ;;
    esac
    if ! load_shape; then
        printf 'no cluster\n'
        return
    fi
    if [[ $how == docker ]]; then stop_docker_nodes "$wipe"; else stop_java_nodes; fi
    if [[ $wipe == yes ]]; then
        for ((i = 1; i <= nodes; i++)); do rm -rf -- "${state:?}/node-$i"; done
        rm -f -- "$state/cluster"
    fi
    printf 'stopped\n'
}

status() {
    local i up=0
    if ! load_shape; then
        printf 'no cluster\n'
        return 3
    fi
    for ((i = 1; i <= nodes; i++)); do
        if node_runs "$i"; then
            up=$((up + 1))
            printf 'node %s runs (%s), 127.0.0.1:%s, log %s\n' "$i" "$how" $((port + i - 1)) "$(log_of "$i")"
        else
            printf 'node %s is down\n' "$i"
        fi
    done
    ((up > 0)) || return 3
}

cli() {
    (($# > 0)) || die "cli: which tool? such as org.apache.kafka.tools.TopicCommand"
    local how
    how=$(mode)
    if [[ $how == java ]]; then
        fetch
        kafka_java WARN "$@"
    else
        docker run --rm -i --network host --entrypoint /opt/kafka/bin/kafka-run-class.sh "$image" "$@"
    fi
}

command=${1:-help}
if (($# > 0)); then shift; fi
case $command in
    fetch | up | down | status | cli) "$command" "$@" ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
