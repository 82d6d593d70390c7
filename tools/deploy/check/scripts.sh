#!/usr/bin/env bash
# Every shell script of the project, by shellcheck.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT"
pip_tools checks

# Those that are run; what they source is followed from there.
mapfile -t scripts < <(git ls-files --stage -- '*.sh' .ci/run | awk '$1 == "100755" { print $4 }')
shellcheck --external-sources "${scripts[@]}"
say "${#scripts[@]} scripts"
