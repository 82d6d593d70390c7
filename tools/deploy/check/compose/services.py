"""Holds the services of a compose file against what its schema can't know.

services.py FILE PROGRAM VOLUMES: that images are of a full version; that our containers are confined, and stopped no
sooner than the program ends; that what is mounted or waited for is there; and that PROGRAM takes the environment of
each, with VOLUMES/NAME for what would be in the volume NAME.
"""

import os
import pathlib
import re
import subprocess
import sys
import tomllib

from ruamel.yaml import YAML

FILE, PROGRAM, VOLUMES = (pathlib.Path(argument).absolute() for argument in sys.argv[1:])
COMPOSE = YAML(typ="safe").load(FILE)

wrong = []


def hold(holds, what):
    if not holds:
        wrong.append(what)


def on_this_machine(path):
    """A path of the file, with the defaults of its variables."""
    return FILE.parent / re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path)


def seconds(text):
    """A duration, as compose writes it (1m30s) and the program (1m 30s)."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|s|m|h)", text))


def mounts(name, service):
    """Where in its container a service finds what of this machine. What a mount refers to is there."""
    found = {}
    for volume in service.get("volumes", []):
        source, target = volume.split(":")[:2]
        if source.startswith("."):
            found[target] = on_this_machine(source)
            hold(found[target].exists(), f"{name}: mounts {source}, which is not there")
        else:
            found[target] = VOLUMES / source
            hold(source in COMPOSE["volumes"], f"{name}: mounts the volume {source}, which is not declared")
    for secret in service.get("secrets", []):
        declared = COMPOSE["secrets"].get(secret)
        hold(declared is not None, f"{name}: wants the secret {secret}, which is not declared")
        if declared is not None:
            path = found[f"/run/secrets/{secret}"] = on_this_machine(declared["file"])
            readable = path.is_file() and path.stat().st_mode & 0o004
            hold(readable, f"{name}: the secret {secret} is at {path}, where user 65532 can't read it")
    return found


def here(value, mounted):
    """A value of the environment, a path in the container made one of this machine."""
    for target, source in mounted.items():
        if value == target or value.startswith(f"{target}/"):
            return f"{source}{value.removeprefix(target)}"
    return value


def configuration(name, service, mounted):
    """What the program makes of a service's environment; nothing where it refuses."""
    given = {key: here(str(value), mounted) for key, value in service.get("environment", {}).items()}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LOGIN_PIPELINE_")}
    done = subprocess.run([PROGRAM, "check"], env=environment | given, capture_output=True, text=True)
    hold(done.returncode == 0, f"{name}: the program refuses its environment: {done.stderr}")
    return tomllib.loads(done.stdout) if done.returncode == 0 else None


def confined(name, service):
    hold(service.get("read_only") is True, f"{name}: its root can be written to: read_only: true")
    hold(service.get("cap_drop") == ["ALL"], f"{name}: it keeps capabilities: cap_drop: [ALL]")
    kept_down = "no-new-privileges:true" in service.get("security_opt", [])
    hold(kept_down, f"{name}: it can gain privileges: security_opt: [no-new-privileges:true]")
    hold("mem_limit" in service, f"{name}: it can take all memory: mem_limit")


def ours(name, service, mounted):
    confined(name, service)
    runs = "command" not in service
    # The image's health check asks for what only `run` serves.
    without_health = service.get("healthcheck", {}).get("disable") is True
    hold(runs != without_health, f"{name}: healthcheck: disable: true is for what does not `run`, and only that")
    config = configuration(name, service, mounted)
    if runs and config is not None:
        grace, drain = service.get("stop_grace_period", "10s"), config["shutdown"]["timeout"]
        hold(seconds(grace) > seconds(drain), f"{name}: it may drain for {drain} and is killed after {grace}")


def any_service(name, service):
    image = service.get("image")
    full = image is None or re.search(r":v?\d+\.\d+\.\d+$|@sha256:[0-9a-f]{64}$", image)
    hold(full, f"{name}: {image} is no full version: NAME:X.Y.Z")
    for port in service.get("ports", []):
        hold(port.startswith("127.0.0.1:"), f"{name}: {port} can be reached from outside: 127.0.0.1:{port}")
    for awaited in service.get("depends_on", []):
        hold(awaited in COMPOSE["services"], f"{name}: waits for {awaited}, which is no service")
    mounted = mounts(name, service)
    if "build" in service:
        ours(name, service, mounted)


for each in COMPOSE["services"].items():
    any_service(*each)
sys.exit("\n".join(wrong) or 0)
