# Where the standard library of a target comes from. To be sourced, after tools/deploy/lib.sh.
# shellcheck shell=bash
#
#   source   built here with the rest, for size, from the source that rustup has for its compiler
#   debian   the same with Debian's compiler and source, which come in packages that are kept as new as
#            a browser needs them
#   rustup   as rustup has it: nothing to build, and some 400 kB more in each binary
#
# The first that is to be had is taken, or the one that DIST_STD names. A panic unwinds in all three.
#
# Built here it has no backtraces, which in a stripped binary would be numbers, and its sorts and
# searches are the short ones: the hot path has none of them.
#
# A panic while a value is dropped aborts, where it is built here: Rust asks of a Drop that it does not
# panic, and what would survive one that does is 0.4 MB. What is derived for Debug tells a type's or a
# variant's name without its fields: nothing that a user reads is made of it. What is generic is taken from
# the crate that made it first, also by the crates that are made for speed.
#
# RUSTC_BOOTSTRAP: -Zbuild-std is not stable, and a nightly would be another compiler every day.
# link-self-contained=no: what rustup's own library has in its folder (crt1.o, libc.a) is not there
# where it is built, and Zig brings its own.

# choose_std TRIPLE: sets std_env, std_args and std_flags.
choose_std() {
    local way ways=(source debian rustup)
    [[ -z ${DIST_STD:-} ]] || ways=("$DIST_STD")
    for way in "${ways[@]}"; do
        std_env=() std_args=() std_flags=""
        "std_by_$way" "$1" || continue
        say "standard library: $way"
        return
    done
    die "no standard library for $1 is to be had (tried: ${ways[*]})"
}

std_by_source() { # TRIPLE
    local sysroot
    sysroot=$(rustc --print sysroot 2>/dev/null) || return 1
    if ! has_source "$sysroot"; then
        command -v rustup >/dev/null || return 1
        rustup component add rust-src >/dev/null 2>&1 || return 1
    fi
    has_source "$sysroot" || return 1
    std_with "$(command -v rustc)"
}

std_by_debian() { # TRIPLE
    local needed found
    if ! has_source /usr; then
        command -v apt-get >/dev/null || return 1
        apt_tools /usr/bin/rustc=rustc-web rust-web-src=rust-web-src
    fi
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    found=$(/usr/bin/rustc --version | cut -d ' ' -f 2)
    if ! printf '%s\n' "$needed" "$found" | sort -V -C; then
        say "/usr/bin/rustc is $found, but $needed is needed: Debian's rustc-web is newer than its rustc"
        return 1
    fi
    has_source /usr || return 1
    std_with /usr/bin/rustc
}

std_by_rustup() { # TRIPLE
    command -v rustup >/dev/null || return 1
    rustup target list --installed | grep -qx "$1" || rustup target add "$1" >/dev/null 2>&1
}

has_source() { # SYSROOT
    [[ -f $1/lib/rustlib/src/rust/library/Cargo.lock ]]
}

std_with() { # RUSTC
    local sysroot
    sysroot=$("$1" --print sysroot)
    std_env=("RUSTC=$1" RUSTC_BOOTSTRAP=1)
    std_args=(-Zbuild-std=std,panic_unwind -Zbuild-std-features=panic-unwind,optimize_for_size)
    std_flags="-C link-self-contained=no -Z panic-in-drop=abort -Z fmt-debug=shallow -Z share-generics=yes"
    std_flags+=" --remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rust"
}
