#!/usr/bin/env bash
# Writes each tools/pins/*.txt anew from its .in: those programs, all that they need, and the hashes of all of it.
# tools/deploy/lib.sh installs nothing else. Wants network; look at what has changed before it is committed.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd -- "$ROOT/tools/pins"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The oldest Python that is used, which needs the most: that of the Dockerfile's Debian.
python3.11 -m venv "$work" || die "python3.11 is missing, or can't make a virtual environment"
"$work/bin/python" -m pip install --quiet pip-tools==7.6.2
for wanted in *.in; do
    "$work/bin/pip-compile" --quiet --generate-hashes --strip-extras --no-header --no-annotate --no-emit-index-url \
        --no-emit-find-links --no-emit-trusted-host --upgrade --output-file "$work/pinned" "$wanted"
    { printf '# Made from tools/pins/%s: tools/pins/update.sh\n' "$wanted"; cat "$work/pinned"; } >"${wanted%.in}.txt"
done
