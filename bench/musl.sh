# shellcheck shell=bash
# What the static binary of `make dist` costs beside `make build`'s: the same pipeline, on musl instead
# of glibc and made small. CPU time and the most memory that it had, by each reader.

prepare_musl() {
    dist_binary=$(find_dist_binary)
    [[ -x $dist_binary ]] || {
        say "in dist/ there is not one binary for this machine: make dist ARCHS=$(machine)"
        exit 1
    }
}

warm_up_musl() { measure_musl 0; }

measure_musl() { # ROUND
    local name
    for name in $(in_turn "$1" glibc-rskafka musl-rskafka glibc-wire musl-wire); do
        create "out-$name-$1"
        create "dead-$name-$1"
        measure_build "$name" "$1"
        drop "out-$name-$1" "dead-$name-$1"
    done
}

measure_build() { # BUILD-READER ROUND
    local pipeline=$pipeline
    if [[ $1 == musl-* ]]; then pipeline=$dist_binary; fi
    measure_reader "$1" "${1#*-}" "$2"
}

report_musl() {
    local reader build
    printf '\nthe static binary and the usual build, %s and %s bytes\n' \
        "$(stat -c %s "$dist_binary")" "$(stat -c %s "$pipeline")"
    for reader in rskafka wire; do
        for build in glibc musl; do report "$build-$reader" <"$work/$build-$reader.results"; done
        ratio "musl-$reader" "glibc-$reader" "musl : glibc, by $reader"
        paste -d ' ' "$work/musl-$reader.results" "$work/glibc-$reader.results" | awk -v reader="$reader" '
            $4 > mine { mine = $4 } $8 > other { other = $8 }
            END { printf "musl : glibc, by %s: %.2f times the memory\n", reader, mine / other }'
    done
}
