#!/usr/bin/env bash
# Makes images of the binaries that `make dist` has left in dist/, one for each platform there, and
# looks at what came out. Pulls nothing. With docker its buildx does it, else buildah, which needs no
# daemon.
# tools/image/build.sh [PLATFORM...]: such as linux/amd64
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd -- "$ROOT"

most_bytes=$((6 * 1024 * 1024))
name=login-pipeline
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
revision=$(git rev-parse HEAD 2>/dev/null || printf unknown)

platforms=("$@")
if ((${#platforms[@]} == 0)); then
    for platform in linux/amd64 linux/arm64 linux/arm/v7; do
        [[ ! -f dist/$platform/login-pipeline ]] || platforms+=("$platform")
    done
fi
((${#platforms[@]} > 0)) || die "dist/ has no binaries: make dist first"
for platform in "${platforms[@]}"; do
    [[ -f dist/$platform/login-pipeline ]] || die "dist/$platform/login-pipeline is not there: make dist first"
done

work=$(mktemp -d)
trap 'rm -rf --one-file-system -- "$work"' EXIT

# What the image has beside the binary, in place of the Dockerfile's stage `root`.
roots=${CA_ROOTS:-/etc/ssl/certs/ca-certificates.crt}
[[ -f $roots ]] || die "$roots is not there (Debian: ca-certificates); CA_ROOTS=FILE names another"
install -D -m 644 "$roots" "$work/root/image/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$work/root/image/offsets"

as_json() { python3 -c 'import json, sys; print(json.dumps(eval(sys.argv[1], {"it": json.load(sys.stdin)})))' "$1"; }

build_args=(--build-context build=dist --build-context "root=$work/root"
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision")

# Each leaves the image's configuration in $work/config.json and its files in $work/rootfs.
if docker info >/dev/null 2>&1; then
    build() { # PLATFORM TAG
        docker buildx build --quiet --load --platform "$1" "${build_args[@]}" --tag "$2" . >&2
        docker image inspect "$2" | as_json 'it[0]["Config"]' >"$work/config.json"
        local container
        container=$(docker create --platform "$1" "$2")
        docker export "$container" | tar -x -C "$work/rootfs" --exclude='dev/*'
        docker rm "$container" >/dev/null
    }
else
    apt_tools buildah=buildah
    storage=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
    build() { # PLATFORM TAG
        # Its own format, since OCI's knows no HEALTHCHECK.
        buildah "${storage[@]}" bud --quiet --isolation chroot --format docker --platform "$1" \
            "${build_args[@]}" --tag "$2" . >&2
        buildah "${storage[@]}" inspect --type image "$2" | as_json 'it["Docker"]["config"]' >"$work/config.json"
        # For `docker load` elsewhere.
        rm -f -- "dist/image-${2##*:}.tar"
        buildah "${storage[@]}" push --quiet "$2" "docker-archive:dist/image-${2##*:}.tar:$2" >&2
        local container
        container=$(buildah "${storage[@]}" from --pull-never --platform "$1" "$2")
        cp -a "$(buildah "${storage[@]}" mount "$container")/." "$work/rootfs"
        buildah "${storage[@]}" rm "$container" >/dev/null
    }
fi

expect() { # WHAT WANTED FOUND
    [[ $2 == "$3" ]] || die "$1 is $3, and must be $2"
}

check() { # PLATFORM
    local config=$work/config.json files bytes
    expect "the user" '"65532:65532"' "$(as_json 'it["User"]' <"$config")"
    expect "the entrypoint" '["/login-pipeline"]' "$(as_json 'it["Entrypoint"]' <"$config")"
    expect "the command" '["run"]' "$(as_json 'it["Cmd"]' <"$config")"
    expect "the health check" '["CMD", "/login-pipeline", "health"]' "$(as_json 'it["Healthcheck"]["Test"]' <"$config")"
    expect "the version's label" "\"$version\"" \
        "$(as_json 'it["Labels"]["org.opencontainers.image.version"]' <"$config")"
    files=$(cd "$work/rootfs" && find . -type f -printf '%P\n' | sort | paste -sd ' ')
    expect "what is in it" "etc/ssl/certs/ca-certificates.crt login-pipeline" "$files"
    expect "the owner of /offsets" "65532:65532" "$(stat -c %u:%g "$work/rootfs/offsets")"
    bytes=$(find "$work/rootfs" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
    ((bytes <= most_bytes)) || die "it takes $bytes bytes, and must not take more than $most_bytes"
    (cd "$work/rootfs" && find . -mindepth 1 -printf '%M %U:%G %9s /%P\n' | sort -k 4) >&2
    say "$1: $bytes bytes in its files"
}

# The binary within the image's own files, as the image's user.
try() { # PLATFORM
    local emulator="" said
    case $1/$(uname -m) in
        linux/amd64/x86_64 | linux/arm64/aarch64 | linux/arm/v7/armv7l) ;;
        linux/amd64/*) emulator=qemu-x86_64-static ;;
        linux/arm64/*) emulator=qemu-aarch64-static ;;
        linux/arm/v7/*) emulator=qemu-arm-static ;;
    esac
    if ((EUID != 0)); then
        say "$1: not tried, which takes root for chroot"
        return
    fi
    if [[ -n $emulator ]]; then
        apt_tools "$emulator=qemu-user-static"
        cp "$(command -v "$emulator")" "$work/rootfs/$emulator"
    fi
    # Without /proc and /dev, which a container has: it wants neither.
    within() {
        timeout 120 chroot --userspec=65532:65532 "$work/rootfs" \
            ${emulator:+/$emulator} /login-pipeline "$@"
    }
    said=$(within --version) || said="none: it failed"
    expect "its version" "$name $version" "$said"
    said=$(within demo --duration 5s --admin.listen 127.0.0.1:0 2>"$work/demo.log") || {
        cat "$work/demo.log" >&2
        die "its demo failed"
    }
    grep -q '^written ' <<<"$said" || die "its demo wrote nothing: $said"
    say "$1: runs; $(grep '^written ' <<<"$said")"
}

for platform in "${platforms[@]}"; do
    tag=$name:$version-$(tr / - <<<"${platform#linux/}")
    say "== $tag"
    rm -rf -- "$work/rootfs"
    mkdir "$work/rootfs"
    build "$platform" "$tag"
    check "$platform"
    try "$platform"
done
