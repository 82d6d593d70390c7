# shellcheck shell=bash
# The pipeline's work on Kafka Streams, which speed and guarantees hold it against. Sourced by run.sh.

# Two threads take a tenth more CPU time and are no faster where the brokers need a core too.
streams_threads=1
# G1 takes more CPU time; Parallel, or a bigger heap, takes memory and saves none. C1 alone (-XX:TieredStopAtLevel=1)
# saves a quarter in the first million records, and costs a third more over four.
streams_jvm=(-XX:+UseSerialGC -Xms256m -Xmx256m -Xmn160m)

streams_java=() # what runs it
streams_fate="" # whether it can

# Once for all parts. Where it can't be built, says why and fails.
prepare_streams() {
    [[ -n $streams_fate ]] || if build_streams; then streams_fate=built; else streams_fate=left_out; fi
    [[ $streams_fate == built ]]
}

build_streams() {
    local log=$work/streams-build.log missing="" tool jars
    # Other jars are wanted where this file is another.
    jars=$target/streams/jars-$(cksum <bench/streams/pom.xml | tr ' ' -)
    for tool in java javac; do command -v "$tool" >/dev/null || missing+=" $tool"; done
    [[ -f $jars/.complete ]] || command -v mvn >/dev/null || missing+=" mvn"
    if [[ -n $missing ]] || ! compile_streams "$jars" "$target/streams/classes" >"$log" 2>&1; then
        say "Kafka Streams is left out: its program can't be built here${missing:+, for want of:$missing}"
        if [[ -z $missing ]]; then tail -n 5 "$log" >&2; fi
        return 1
    fi
    streams_java=(java "${streams_jvm[@]}" -cp "$target/streams/classes:$jars/*"
        -Dlog4j2.configurationFile=tools/kafka/log4j2.properties StreamsLogin)
}

compile_streams() { # JARS CLASSES
    if [[ ! -f $1/.complete ]]; then
        mvn -q -B -f bench/streams/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
            -DoutputDirectory="$(realpath -m "$1")" || return
        : >"$1/.complete"
    fi
    rm -rf -- "$2"
    javac --release 17 -Xlint:all -Werror -d "$2" -cp "$1/*" bench/streams/*.java
}

# All records once, up to the last commit. Its results are of the whole process, JVM's start and all; what is left of
# them from the first record on is in a file beside them.
measure_streams() { # NAME GUARANTEE ROUND
    measure_drained "$1" "${streams_java[@]}" "$brokers" user-login "out-$1-$3" "dead-$1-$3" "$part-$1-$3" \
        "$2" "$streams_threads"
    sed -n 's/^working //p' "$work/$1.log" >>"$work/$1-working.results"
}

report_streams() { # NAME
    report "$1" <"$work/$1.results"
    awk -v count="$count" '
        { cpu += $1; wall += $2; runs++ }
        END {
            million = runs * count / 1000
            printf "%-14s %5.2f CPU s per million records %31.0f records/s, from the first record on\n",
                "", cpu / million, count * runs / wall * 1000
        }' "$work/$1-working.results"
}
