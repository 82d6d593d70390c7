#!/usr/bin/env bash
# GitHub's workflows and Dependabot's configuration: their schemas, actionlint (with shellcheck on what
# they run), and zizmor for what an attacker could make of them.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT"
pip_tools checks
go_tool actionlint github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
actionlint .github/workflows/*.yml
zizmor --offline --quiet --no-progress .github

# An action is named by its commit, which can't be moved, with the version that it stands for; a workflow of our own by
# its file.
if grep -nE '^ *-? *uses:' .github/workflows/*.yml | grep -vE ' \./\.github/workflows/[a-z]+\.yml( #.*)?$' | grep -vE '@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+$'; then
    die "pin these actions by commit, with the version behind it: @SHA # vX.Y.Z"
fi

# A release is of a commit that is on main, and behind the tests.
python3 - <<'PYTHON'
import re
release = open(".github/workflows/release.yml").read()
build = re.search(r"^  build:\n(?:    .*\n)*?    needs: \[(.*)\]", release, re.M)
assert build and set(build[1].split(", ")) == {"source", "tests"}, "release.yml: build must need source and tests"
assert "merge-base --is-ancestor" in release and "uses: ./.github/workflows/ci.yml" in release, "release.yml"
PYTHON

# A checkout leaves no token behind for the steps after it. zizmor takes an outspoken "true" for a decision.
for workflow in .github/workflows/*.yml; do
    checkouts=$(grep -c 'uses: actions/checkout@' "$workflow" || true)
    kept_out=$(grep -c 'persist-credentials: false$' "$workflow" || true)
    ((checkouts == kept_out)) || die "$workflow: a checkout lacks persist-credentials: false"
done
