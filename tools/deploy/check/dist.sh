#!/usr/bin/env bash
# What `make dist` left in dist/, where it left anything: each binary is static, for the machine that its
# name says, small enough, and runs the demo where this machine can run it; sums and SBOM hold.
# Nothing is built here.
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

runs() { # BINARY ARCH
    local run=("$PWD/$1") said
    if [[ $2 != "$(uname -m)" ]]; then
        if ! command -v "${emulators[$2]}" >/dev/null; then
            say "$1: not run, for want of ${emulators[$2]} (Debian: qemu-user-static)"
            return
        fi
        run=("${emulators[$2]}" "${run[@]}")
    fi
    said=$("${run[@]}" demo --duration 10s --admin.listen 127.0.0.1:0 2>&1) || die "$1: the demo failed: $said"
    awk '/^(read|written|dead|dropped) / { n[$1] = $2 }
         END { exit !(n["read"] > 0 && n["read"] == n["written"] + n["dead"] + n["dropped"]) }' <<<"$said" ||
        die "$1: the demo does not account for all records: $said"
    awk -v name="$1" '/^read / { print name ": the demo moved " $2 " records" }' <<<"$said" >&2
}

for binary in "${binaries[@]}"; do
    arch=${binary%-linux-musl}
    arch=${arch##*-}
    [[ -v machines[$arch] ]] || die "$binary: no such architecture"
    holds "$binary" "$arch"
    runs "$binary" "$arch"
done
(cd dist && sha256sum --quiet --check SHA256SUMS)
python3 - dist/login-pipeline-*.cdx.json <<'PYTHON'
import json, sys
bom = json.load(open(sys.argv[1]))
names = {part["name"] for part in bom["components"]}
assert bom["bomFormat"] == "CycloneDX" and {"rskafka", "kafka-protocol", "mimalloc"} <= names, sorted(names)
PYTHON
say "${#binaries[@]} binaries"
