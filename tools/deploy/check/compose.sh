#!/usr/bin/env bash
# docker-compose.yml: compose's own schema, images by a full version, and our containers confined.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT"
pip_tools check-jsonschema==0.39.0

check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

# check-jsonschema has brought ruamel.yaml along.
"$TOOLS/venv/bin/python" - docker-compose.yml <<'PYTHON'
import re
import sys
from ruamel.yaml import YAML

with open(sys.argv[1], encoding="utf-8") as file:
    services = YAML(typ="safe").load(file)["services"]
wrong = []
for name, service in services.items():
    image = service.get("image")
    if image is not None and not re.search(r":v?\d+\.\d+\.\d+$|@sha256:[0-9a-f]{64}$", image):
        wrong.append(f"{name}: {image} is no full version: NAME:X.Y.Z")
    if "build" not in service:
        continue
    if service.get("read_only") is not True:
        wrong.append(f"{name}: its root can be written to: read_only: true")
    if service.get("cap_drop") != ["ALL"]:
        wrong.append(f"{name}: it keeps capabilities: cap_drop: [ALL]")
    if "no-new-privileges:true" not in service.get("security_opt", []):
        wrong.append(f"{name}: it can gain privileges: security_opt: [no-new-privileges:true]")
    if "mem_limit" not in service:
        wrong.append(f"{name}: it can take all memory: mem_limit")
sys.exit("\n".join(wrong) or 0)
PYTHON
