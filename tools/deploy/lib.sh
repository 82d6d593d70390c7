# What the checks of deploy/ share: where their tools are, and how a missing one is got. To be sourced.
# Everything lands in .tools, in the versions written beside each call, and is got once.
# shellcheck shell=bash
set -euo pipefail
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
TOOLS=$ROOT/.tools
mkdir -p "$TOOLS/bin"
PATH=$TOOLS/bin:$TOOLS/venv/bin:$PATH

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# pip_tools PINS...: Python programs, in a virtual environment of their own: those of tools/pins/PINS.txt, each file of
# which has the hash that is written there. None of them runs a build script.
pip_tools() {
    local pins mark
    for pins in "$@"; do
        mark=$TOOLS/venv/.has-$pins-$(sha256sum <"$ROOT/tools/pins/$pins.txt" | cut -c 1-16)
        [[ ! -e $mark ]] || continue
        if [[ ! -x $TOOLS/venv/bin/python ]]; then
            command -v python3 >/dev/null || die "python3 is missing"
            python3 -m venv "$TOOLS/venv" || die "python3 can't make a virtual environment (Debian: python3-venv)"
            hash -r # or python3 stays the one that bash has just found
        fi
        "$TOOLS/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
            --only-binary :all: --requirement "$ROOT/tools/pins/$pins.txt" >&2
        touch "$mark"
    done
}

# go_tool NAME MODULE@VERSION: a Go program, built from source.
go_tool() {
    local mark=$TOOLS/bin/.has-$1-${2##*@}
    [[ -e $mark ]] && return
    command -v go >/dev/null || die "go is missing, which builds $1"
    GOBIN=$TOOLS/bin go install "$2" >&2
    touch "$mark"
}

# cargo_tool NAME VERSION: a Rust program, built from source.
cargo_tool() {
    local mark=$TOOLS/bin/.has-$1-$2
    [[ -e $mark ]] && return
    command -v cargo >/dev/null || die "cargo is missing, which builds $1"
    cargo install --quiet --locked --root "$TOOLS" --target-dir "$TOOLS/target" "$1@$2" >&2
    rm -rf "$TOOLS/target"
    touch "$mark"
}

# apt_tools COMMAND=PACKAGE...: what only the distribution has.
apt_tools() {
    local pair packages=() as_root=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || packages+=("${pair#*=}")
    done
    ((${#packages[@]} == 0)) && return
    command -v apt-get >/dev/null || die "missing, and no apt-get here: ${packages[*]}"
    if ((EUID != 0)); then
        sudo -n true 2>/dev/null || die "not root, and these are missing: ${packages[*]}"
        as_root=(sudo)
    fi
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -q update >&2
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${packages[@]}" >&2
}

# find_program: sets `program`, to LOGIN_PIPELINE_BIN or to what is built: as new as the sources where cargo is there.
find_program() {
    program=${LOGIN_PIPELINE_BIN:-}
    if [[ -z $program ]]; then
        if command -v cargo >/dev/null; then cargo build --quiet --bin login-pipeline; fi
        local built
        for built in debug release; do
            [[ -z $program && -x ${CARGO_TARGET_DIR:-target}/$built/login-pipeline ]] || continue
            program=${CARGO_TARGET_DIR:-target}/$built/login-pipeline
        done
    fi
    [[ -x $program ]] || die "no program at ${program:-target}, and no cargo to build it"
}
