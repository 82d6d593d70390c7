#!/usr/bin/env bash
# The picture at the top of README, from a real run: demo, a kill, the dead letters, Ctrl-C.
# Writes docs/terminal.svg. LOGIN_PIPELINE is the program, target/release/login-pipeline unless set.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
program=$(realpath -- "${LOGIN_PIPELINE:-target/release/login-pipeline}")
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
export NO_COLOR=1 COLUMNS=64
arguments='demo --instances 2 --upsets never --bad 0.05'

type_at() { # types what somebody at the demo's terminal would, once there is enough to see
    sleep 12
    echo 'kill 1'
    sleep 18
    local brokers
    brokers=$(sed -n 's/.*--kafka.brokers \([0-9.:]*\).*/\1/p' "$scratch/demo" | head -n 1)
    export LOGIN_PIPELINE__KAFKA__BROKERS=$brokers
    {
        shown dlq stats --table
        shown dlq replay --dry-run --only tombstone
        shown dlq replay --only tombstone --yes
    } >"$scratch/dlq" 2>&1
    sleep 4
    printf '\003' # Ctrl-C
    sleep 3
}

shown() {
    echo "\$ login-pipeline $*"
    "$program" "$@"
}

# The keys go to a terminal of script's making: the demo listens to nothing else.
type_at | script -qfec "stty -echoctl cols 110; '$program' $arguments" "$scratch/demo" >/dev/null
tr -d '\r' <"$scratch/demo" | sed 's/\x03/^C\n/' | grep -v '^Script ' >"$scratch/lines"
grep -q '^lost 0, ' "$scratch/lines" || { cat "$scratch/lines" >&2; exit 1; }

{
    echo "\$ login-pipeline ${arguments/ --upsets never/}"
    # Of each stretch between two events the last counts are enough.
    awk '/^in / { counts = $0; next } /^$/ { next } { if (counts != "") print counts; counts = ""; print }' "$scratch/lines" |
        grep -Ev '^Ctrl-C drains|^partitions  1: -  2: -$' | sed 's/^read  .*//; s/^dropped .*//; /^$/d; s/^\(dead  *[0-9]*\) (.*/\1/'
    echo
    echo '# meanwhile, in another terminal'
    # The reasons only, the first four; of the replay, what was done.
    awk '/^\$/ { table = 0 } /^FIELD/ { table = 2 } /^REASON/ { table = 1; rows = 0 } table == 2 { next } \
         table == 1 && ++rows > 5 { next } /^$|dead letters stay|^progress is kept/ { next } { print }' "$scratch/dlq"
} >"$scratch/shown"

awk '
    BEGIN { size = 13; line = 18; left = 16; top = 44 }
    {
        text[NR] = $0
        gsub(/[\x80-\xbf]/, "") # characters, not bytes
        if (length($0) > wide) wide = length($0)
    }
    END {
        width = int(wide * 7.83) + 2 * left; height = top + NR * line + 8
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n", width, height, width, height
        print "<title>login-pipeline demo at a terminal: an instance is killed, and nothing is lost</title>"
        printf "<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#1b1f24\"/>\n", width, height
        for (i = 0; i < 3; i++) printf "<circle cx=\"%d\" cy=\"18\" r=\"5\" fill=\"#57606a\"/>\n", 20 + 18 * i
        printf "<g font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,monospace\" font-size=\"%d\" fill=\"#d0d7de\">\n", size
        for (i = 1; i <= NR; i++) {
            if (text[i] == "") continue
            shade = ""
            if (text[i] ~ /^\$ |^kill 1$|^\^C$/) shade = " fill=\"#79c0ff\""
            if (text[i] ~ /^#/) shade = " fill=\"#8b949e\""
            if (text[i] ~ /^lost |would pass now|were written to/) shade = " fill=\"#7ee787\" font-weight=\"bold\""
            if (text[i] ~ /is killed$/) shade = " fill=\"#ffa198\""
            gsub(/&/, "\\&amp;", text[i]); gsub(/</, "\\&lt;", text[i])
            gsub(/ /, "\xc2\xa0", text[i]) # else runs of them become one
            printf "<text x=\"%d\" y=\"%d\"%s>%s</text>\n", left, top + (i - 1) * line, shade, text[i]
        }
        print "</g>\n</svg>"
    }' "$scratch/shown" >docs/terminal.svg
cat "$scratch/shown"
