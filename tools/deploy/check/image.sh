#!/usr/bin/env bash
# The Dockerfile, by hadolint, and whether cargo has all that it wants of what .dockerignore lets through. What
# comes of it is looked at by `make image`.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT"
pip_tools checks

hadolint --failure-threshold info Dockerfile
context=$(mktemp -d)
trap 'rm -rf --one-file-system -- "$context"' EXIT
sed -n 's/^!//p' .dockerignore | xargs cp -r --parents -t "$context"
(cd "$context" && cargo fetch --locked --quiet)
say "Dockerfile"
