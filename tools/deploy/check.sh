#!/usr/bin/env bash
# Holds what is in deploy/, the images and the workflows against the tools that would reject them.
# tools/deploy/check.sh [PART...]: the parts named, else all of tools/deploy/check/.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
cd -- "$ROOT"

parts=("$@")
if ((${#parts[@]} == 0)); then
    for script in tools/deploy/check/*.sh; do parts+=("$(basename "$script" .sh)"); done
fi

failed=()
for part in "${parts[@]}"; do
    say "== $part"
    [[ -f tools/deploy/check/$part.sh ]] || die "there is no part $part"
    "tools/deploy/check/$part.sh" || failed+=("$part")
done
((${#failed[@]} == 0)) || die "failed: ${failed[*]}"
say "== all parts hold: ${parts[*]}"
