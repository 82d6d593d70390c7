#!/usr/bin/env bash
# docker-compose.yml: compose's own schema, images by a full version, our containers confined, everything mounted there,
# and each container's environment taken by the program. LOGIN_PIPELINE_BIN names a program that is built already.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT"
pip_tools checks
apt_tools keytool=default-jre-headless promtool=prometheus
find_program

check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
promtool check config deploy/monitoring/prometheus.yml >/dev/null

# What the one-shot `certificates` leaves in its volumes.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/broker-certificate" "$work/authority"
deploy/compose/certificates.sh kafka-tls "$work/broker-certificate" "$work/authority" >"$work/messages" 2>&1 ||
    die "$(<"$work/messages")"

# check-jsonschema has brought ruamel.yaml along.
"$TOOLS/venv/bin/python" tools/deploy/check/compose/services.py docker-compose.yml "$program" "$work"
