#!/usr/bin/env bash
# Builds what is released: static binaries for Linux on three architectures, into dist/.
# tools/dist/build.sh [--binary-only] [ARCH...]: x86_64, aarch64, armv7; all three where none is named.
# With --binary-only nothing but the binaries is made, as an image wants it.
#
#   dist/login-pipeline-VERSION-ARCH-linux-musl     the binaries
#   dist/login-pipeline-VERSION.cdx.json            what is in them: an SBOM, CycloneDX
#   dist/SIZES, dist/SHA256SUMS                     of all that lies there
#   dist/linux/{amd64,arm64,arm/v7}/login-pipeline  the binaries again, by Docker's TARGETPLATFORM
#
# Zig is the linker and the C compiler, so that of a target only Rust's standard library is needed:
# see std.sh. DIST_FEATURES are the cargo features that the binaries have: none of `completions`, `demo` (the
# demo) and `top`, which would add 1 MB. docs/dev/measurements.md says what makes the binaries small.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd -- "$ROOT"
# shellcheck source=tools/dist/std.sh
source tools/dist/std.sh

declare -A triples=(
    [x86_64]=x86_64-unknown-linux-musl
    [aarch64]=aarch64-unknown-linux-musl
    [armv7]=armv7-unknown-linux-musleabihf
)
declare -A platforms=([x86_64]=linux/amd64 [aarch64]=linux/arm64 [armv7]=linux/arm/v7)

binary_only=no
if [[ ${1:-} == --binary-only ]]; then
    binary_only=yes
    shift
fi
archs=("$@")
((${#archs[@]} > 0)) || archs=(x86_64 aarch64 armv7)
for arch in "${archs[@]}"; do
    [[ -v triples[$arch] ]] || die "no binary is made for $arch; there are x86_64, aarch64, armv7"
done
command -v readelf >/dev/null || die "readelf is missing (Debian: binutils)"

pip_tools zig
cargo_tool cargo-auditable 0.7.7
target=${CARGO_TARGET_DIR:-target}
features=${DIST_FEATURES-}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

# With frame pointers the tables for unwinding shrink by more than the code grows. What is inlined beyond
# a call's own size is mostly code that runs once, and a short choice needs no table of jumps. The binary
# is linked to a fixed address, so its code need not ask where it is. What a panic can pass has its table
# for unwinding without being forced.
size_flags="-C force-frame-pointers=yes -C force-unwind-tables=no -C relocation-model=static"
size_flags+=" -C llvm-args=-inline-threshold=10 -C llvm-args=-min-jump-table-entries=8"
# zstd is only ever asked for its usual level, needs one of its two ways to read, and its formats from
# before version 0.8 are older than Kafka's use of it. LZ4 has no copy of its loops for each of its
# cases. No panic passes through C.
c_flags="-DDYNAMIC_BMI2=0 -DZSTD_LEGACY_SUPPORT=0 -DHUF_FORCE_DECOMPRESS_X1 -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT"
c_flags+=" -DLZ4_FORCE_INLINE=static -fno-unwind-tables -fno-asynchronous-unwind-tables"
for strategy in GREEDY LAZY LAZY2 BTLAZY2 BTOPT BTULTRA; do
    c_flags+=" -DZSTD_EXCLUDE_${strategy}_BLOCK_COMPRESSOR"
done

# The same source gives the same bytes in any folder, at any time.
export CARGO_INCREMENTAL=0
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || printf 0)}
export SOURCE_DATE_EPOCH

build() { # ARCH
    local triple=${triples[$1]} binary=dist/login-pipeline-$version-$1-linux-musl folder flags variable
    say "== $1"
    choose_std "$triple" # sets std_env, std_args, std_flags
    flags="$size_flags $std_flags --remap-path-prefix=$ROOT=/src"
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
        flags+=" --remap-path-prefix=${folder%/}=/crates"
    done
    if [[ $1 == armv7 ]]; then flags+=" -C target-feature=+thumb-mode"; fi
    variable=${triple//-/_}
    # The level behind the -- is the link's. Each function keeps that of the crate that it was compiled in.
    # cargo-auditable puts the list of crates into the binary (section .dep-v0, some 5 kB), where scanners of images look
    # for it. `cargo auditable` itself can't call `cargo zigbuild rustc`, so that its two variables are set here.
    env "${std_env[@]}" RUSTC_WORKSPACE_WRAPPER="$TOOLS/bin/cargo-auditable" \
        CARGO_AUDITABLE_ORIG_ARGS='{"offline":false,"locked":true,"frozen":false,"config":[]}' \
        "CFLAGS_$variable=$c_flags" "CARGO_TARGET_${variable^^}_RUSTFLAGS=$flags" \
        cargo-zigbuild rustc --locked --profile dist --no-default-features --features "$features" --target "$triple" \
        --bin login-pipeline "${std_args[@]}" -- -C opt-level=3 >&2
    install -D -m 755 "$target/$triple/dist/login-pipeline" "$binary"
    mkdir -p "dist/${platforms[$1]}"
    ln -f "$binary" "dist/${platforms[$1]}/login-pipeline"
}

sbom() {
    cargo_tool cargo-cyclonedx 0.5.9
    # One for all: they differ in code, not in crates. The folder's name is none of its reader's business.
    cargo cyclonedx --quiet --format json --spec-version 1.5 --all --no-default-features \
        --features "$features" --target x86_64-unknown-linux-musl \
        --override-filename dist-sbom
    sed "s|$ROOT|/src|g" dist-sbom.json >"dist/login-pipeline-$version.cdx.json"
    find . -maxdepth 3 -name dist-sbom.json -delete
}

sizes() { # BINARY...
    local binary
    for binary in "$@"; do
        printf '%s\n%10d  bytes, of which\n' "${binary#dist/}" "$(stat -c %s "$binary")"
        size -A -d "$binary" | awk '
            $1 !~ /^\./ || $1 ~ /^\.(bss|tbss|relro_padding|ARM.attributes|comment)$/ { next }
            { kind = "constants and data" }
            $1 ~ /^\.(text|plt|init|fini)/ { kind = "code" }
            $1 ~ /^\.(eh_frame|gcc_except|ARM\.ex)/ { kind = "what a panic needs to unwind" }
            { bytes[kind] += $2 }
            END { for (kind in bytes) printf "%10d  %s\n", bytes[kind], kind }' | sort -r
    done
}

# What an earlier version left is no part of this one.
find dist -maxdepth 1 -name 'login-pipeline-*' ! -name "login-pipeline-${version}[-.]*" -delete 2>/dev/null || true
for arch in "${archs[@]}"; do build "$arch"; done
[[ $binary_only == no ]] || exit 0
sbom
mapfile -t made < <(compgen -G 'dist/login-pipeline-*-linux-musl' | sort)
sizes "${made[@]}" >dist/SIZES
(cd dist && sha256sum -- login-pipeline-* SIZES >SHA256SUMS)
cat dist/SIZES dist/SHA256SUMS
tools/deploy/check.sh dist
