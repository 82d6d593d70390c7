#!/usr/bin/env bash
# What `make dist` left in dist/, where it left anything: each binary is static, for the machine that its
# name says, small enough, and moves a demo's records where this machine can run it; sums and SBOM hold.
# The demo, whose broker it is, is this tree's own debug build: the binaries have none.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT"

# 5 MiB, but for x86_64, which has what leaves an image below 6: docs/dev/measurements.md says why, and
# what the bytes are.
readonly MIB=$((1024 * 1024))
declare -A limits=([x86_64]=$((6 * MIB)) [aarch64]=$((5 * MIB)) [armv7]=$((5 * MIB)))
declare -A machines=([x86_64]="Advanced Micro Devices X86-64" [aarch64]=AArch64 [armv7]=ARM)
declare -A emulators=([x86_64]=qemu-x86_64-static [aarch64]=qemu-aarch64-static [armv7]=qemu-arm-static)

mapfile -t binaries < <(compgen -G 'dist/login-pipeline-*-linux-musl' | sort)
if ((${#binaries[@]} == 0)); then
    say "nothing in dist/ (make dist): left out"
    exit 0
fi
for tool in readelf sha256sum python3; do command -v "$tool" >/dev/null || die "$tool is missing"; done

holds() { # BINARY ARCH
    local size
    readelf --wide --file-header "$1" | grep -q "Machine: *${machines[$2]}\$" || die "$1 is not for $2"
    # Neither an interpreter nor a library is asked for.
    ! readelf --wide --program-headers "$1" | grep -q INTERP || die "$1 asks for an interpreter"
    ! readelf --wide --dynamic "$1" 2>/dev/null | grep -q NEEDED || die "$1 asks for a library"
    ! readelf --wide --sections "$1" | grep -q ' \.symtab ' || die "$1 is not stripped"
    readelf --wide --sections "$1" | grep -q ' \.dep-v0 ' || die "$1 does not list its crates"
    if [[ $2 == armv7 ]]; then
        readelf --arch-specific "$1" | grep -q 'Tag_ABI_VFP_args: VFP registers' || die "$1 is not hard-float"
    fi
    size=$(stat -c %s "$1")
    ((size <= limits[$2])) || die "$1 has $size bytes, which is more than ${limits[$2]}"
}

runs() { # BINARY ARCH BROKERS
    local run=("$PWD/$1") said
    if [[ $2 != "$(uname -m)" ]]; then
        if ! command -v "${emulators[$2]}" >/dev/null; then
            say "$1: not run, for want of ${emulators[$2]} (Debian: qemu-user-static)"
            return
        fi
        run=("${emulators[$2]}" "${run[@]}")
    fi
    # It ends in order by the signal: exit code 0, and all that was read is accounted for.
    said=$(timeout --signal=TERM --preserve-status 15s "${run[@]}" run --kafka.brokers "$3" --group.id "dist-$2" \
        --output.topic "dist-$2" --dead_letter.topic "dist-$2-dead" --topics.create missing \
        --admin.listen 127.0.0.1:0 2>&1) || die "$1: run failed: $said"
    said=$(grep 'final statistics records_in' <<<"$said" | grep -oE 'records_(in|out|dead|dropped)=[0-9]+') ||
        die "$1: run ended without its statistics"
    awk -F= '{ n[$1] = $2 } END { exit !(n["records_in"] > 0 &&
             n["records_in"] == n["records_out"] + n["records_dead"] + n["records_dropped"]) }' <<<"$said" ||
        die "$1: run does not account for all records: $said"
    say "$1: moved $(head -n 1 <<<"$said" | cut -d = -f 2) records of a demo"
}

say "the demo that they are tried on"
cargo build --quiet
demo=${CARGO_TARGET_DIR:-target}/debug/login-pipeline
coproc broker { exec "$demo" demo --admin.listen 127.0.0.1:0 </dev/null 2>/dev/null; }
trap 'kill "$broker_PID" 2>/dev/null || true' EXIT
read -r told <&"${broker[0]}"
brokers=${told##* }
[[ $brokers == *:* ]] || die "the demo does not name its broker: $told"

for binary in "${binaries[@]}"; do
    arch=${binary%-linux-musl}
    arch=${arch##*-}
    [[ -v machines[$arch] ]] || die "$binary: no such architecture"
    holds "$binary" "$arch"
    runs "$binary" "$arch" "$brokers"
done
(cd dist && sha256sum --quiet --check SHA256SUMS)
python3 - dist/login-pipeline-*.cdx.json <<'PYTHON'
import json, sys
bom = json.load(open(sys.argv[1]))
names = {part["name"] for part in bom["components"]}
assert bom["bomFormat"] == "CycloneDX" and {"rskafka", "kafka-protocol", "mimalloc"} <= names, sorted(names)
PYTHON
say "${#binaries[@]} binaries"
