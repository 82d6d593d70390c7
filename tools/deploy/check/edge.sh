#!/usr/bin/env bash
# The edge box: its unit by systemd's own eyes, its OpenRC script by shellcheck and a trial of start_pre, and its
# configuration by the program.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT"
find_program
program=$(realpath -- "$program") # the unit wants a whole path
cd -- deploy/edge
apt_tools systemd-analyze=systemd
pip_tools checks
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# It asks for the program to be there, and for nothing else that this machine has not.
sed "s|/usr/local/bin/login-pipeline|$program|" login-pipeline.service >"$work/login-pipeline.service"
systemd-analyze verify --man=no "$work/login-pipeline.service" 2>"$work/said" || { cat "$work/said" >&2; die "the unit is refused"; }
if grep -F login-pipeline.service "$work/said" >&2; then die "the unit has mistakes"; fi
# Of 10, where less is better; what is left is the network, which it is for. The threshold is in tenths.
systemd-analyze security --offline=true --threshold=12 --no-pager "$work/login-pipeline.service" >"$work/security" ||
    { cat "$work/security" >&2; die "the unit is more exposed than 1.2"; }
tail -n 1 "$work/security" >&2

printf secret >"$work/kafka-password"
check_config() { "$program" check --config "$1" --kafka.sasl.password_file "$work/kafka-password" >/dev/null; }
check_config login-pipeline.toml || die "the configuration is refused"

shellcheck --shell=sh login-pipeline.openrc
sh -n login-pipeline.openrc
# start_pre with OpenRC's functions in its place: a right configuration starts, a wrong one and a folder that can't be made
# do not.
cat >"$work/openrc" <<'SH'
checkpath() { [ -z "$no_folder" ]; }
eerror() { echo "$*" >&2; }
. "$1"
depends=$(use() { echo "$*"; }; after() { :; }; depend)
[ "$depends" = "net dns" ] || exit 9
start_pre
SH
start_pre() {
    env LOGIN_PIPELINE__KAFKA__SASL__PASSWORD_FILE="$work/kafka-password" login_pipeline_bin="$program" \
        login_pipeline_config="$1" no_folder="${2:-}" sh "$work/openrc" "$PWD/login-pipeline.openrc" 2>>"$work/openrc.log"
}
sed '/^password_file/d' login-pipeline.toml >"$work/right.toml"
sed 's/^compression.*/compression = "zst"/' "$work/right.toml" >"$work/wrong.toml"
start_pre "$work/right.toml" || { cat "$work/openrc.log" >&2; die "start_pre refuses a right configuration"; }
if start_pre "$work/wrong.toml"; then die "start_pre takes a wrong configuration"; fi
if start_pre "$work/right.toml" no; then die "start_pre goes on without its folder"; fi

# What the unit and the script wait for is longer than what the program does.
timeout=$(sed -n '/^\[shutdown\]/,/^\[/s/^timeout = "\([0-9]*\)m"/\1/p' login-pipeline.toml)
stop=$(sed -n 's/^TimeoutStopSec=\([0-9]*\)s/\1/p' login-pipeline.service)
((stop > timeout * 60)) || die "TimeoutStopSec is no longer than shutdown.timeout"
grep -q "^retry=\"TERM/$stop/" login-pipeline.openrc || die "the OpenRC script waits for another time than the unit"
say "unit, OpenRC script and configuration hold"
