"""Holds what `helm template` made of one file of values against Kubernetes' schemas and against itself.

manifests.py MANIFESTS OUT VERSION...: the schemas of each version; that what refers to something finds it; that pods are
restricted; that what follows from the configuration does. Leaves the program's configuration in OUT/config.toml and the
environment of the pod of `helm test` in OUT/env, for the program's own check.
"""

import hashlib
import json
import pathlib
import re
import sys
import tomllib

import jsonschema
import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
CRDS = json.loads((HERE / "crds.json").read_text())
MONITORING = HERE.parents[3] / "deploy/monitoring"

# For how long /readyz forgives trouble.
APP = (HERE.parents[3] / "src/app.rs").read_text()
READINESS_GRACE = int(re.search(r"READINESS_GRACE: Duration = Duration::from_secs\((\d+)\)", APP)[1])

wrong = []


def hold(holds, what):
    if not holds:
        wrong.append(what)


def valid(document, versions):
    """By Kubernetes' schemas, or by ours for the kinds of others."""
    name = f"{document['kind']} {document['metadata']['name']}"
    crd = CRDS.get(document["kind"])
    if crd is not None:
        hold(document["apiVersion"] == crd["apiVersion"], f"{name}: apiVersion {document['apiVersion']}")
        for error in jsonschema.Draft7Validator(crd["spec"]).iter_errors(document["spec"]):
            wrong.append(f"{name}: {error.json_path}: {error.message}")
        return
    for version in versions:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            wrong.append(f"{name}, Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}")


def pod(name, spec):
    """Restricted, and whole: each mount has its volume, each probe its port."""
    hold(spec["automountServiceAccountToken"] is False, f"{name}: mounts a token")
    of_pod = spec["securityContext"]
    hold(of_pod["runAsNonRoot"] is True and of_pod["runAsUser"] == 65532, f"{name}: may be root")
    hold(of_pod["seccompProfile"] == {"type": "RuntimeDefault"}, f"{name}: seccomp")
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    hold(len(volumes) == len(spec["volumes"]), f"{name}: two volumes of one name")
    for container in spec["containers"]:
        within = container["securityContext"]
        hold(within["allowPrivilegeEscalation"] is False, f"{name}: may escalate")
        hold(within["readOnlyRootFilesystem"] is True, f"{name}: may write to its image")
        hold(within["capabilities"] == {"drop": ["ALL"]}, f"{name}: capabilities")
        hold("memory" in container["resources"]["limits"], f"{name}: no memory limit")
        names = [variable["name"] for variable in container["env"]]
        hold(len(set(names)) == len(names), f"{name}: a variable twice")
    return volumes


def text(toml, path, default):
    for name in path.split("."):
        toml = toml.get(name, {})
    return toml or default


def seconds(duration):
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)(ms|s|m|h)", duration))


def release(documents):
    """What belongs together."""
    kinds = {}
    for document in documents:
        kinds.setdefault(document["kind"], []).append(document)
    hold("Secret" not in kinds, "a Secret: those are referred to, never made")
    hold(not {"Role", "ClusterRole", "RoleBinding"} & kinds.keys(), "a Role, for a program that asks nothing of Kubernetes")

    [workload] = kinds.get("Deployment", []) + kinds.get("StatefulSet", [])
    [check] = kinds["Pod"]
    [service] = kinds["Service"]
    name, spec = workload["metadata"]["name"], workload["spec"]
    template = spec["template"]
    labels = template["metadata"]["labels"]
    [container] = template["spec"]["containers"]
    volumes = pod(name, template["spec"])
    config = next(c for c in kinds["ConfigMap"] if "config.toml" in c["data"])
    written = config["data"]["config.toml"]
    toml = tomllib.loads(written)

    hold(volumes["config"]["configMap"]["name"] == config["metadata"]["name"], "the configuration is not mounted")
    checksum = template["metadata"]["annotations"]["checksum/config"]
    hold(checksum == hashlib.sha256(written.rstrip("\n").encode()).hexdigest()
         or checksum == hashlib.sha256(written.encode()).hexdigest(), "the checksum is of something else")
    pod("the pod of helm test", check["spec"])

    claims = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    for mount in container["volumeMounts"]:
        hold(mount["name"] in volumes.keys() | claims, f"{mount['name']} is mounted and no volume")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    hold(volumes.keys() | claims <= mounted, f"a volume that is mounted nowhere: {volumes.keys() | claims - mounted}")

    def selects(selector, of=labels):
        return selector.items() <= of.items()

    hold(selects(spec["selector"]["matchLabels"]), "the workload does not select its pods")
    hold(selects(service["spec"]["selector"]), "the Service does not select the pods")
    hold(not selects(spec["selector"]["matchLabels"], check["metadata"]["labels"]), "the pod of helm test is selected")
    for budget in kinds.get("PodDisruptionBudget", []):
        hold(selects(budget["spec"]["selector"]["matchLabels"]), "the budget does not select the pods")
    for constraint in template["spec"].get("topologySpreadConstraints", []):
        hold(selects(constraint["labelSelector"]["matchLabels"]), "a spread constraint does not select the pods")
    for monitor in kinds.get("ServiceMonitor", []):
        hold(selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"]),
             "the ServiceMonitor does not select the Service")
        hold(monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"], "the ServiceMonitor's port")

    port = int(toml["admin"]["listen"].rsplit(":", 1)[1])
    hold(container["ports"] == [{"name": "metrics", "containerPort": port, "protocol": "TCP"}], "the container's port")
    tls = toml["admin"].get("tls", {})

    def probe(path):
        if "client_ca_file" in tls:
            live = ["--live"] if path == "/livez" else []
            return {"exec": {"command": ["/login-pipeline", "health", *live, *container["args"][1:]]}}
        return {"httpGet": {"path": path, "port": "metrics"} | ({"scheme": "HTTPS"} if tls else {})}

    for of, path in {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}.items():
        hold(container[f"{of}Probe"].items() >= probe(path).items(), f"the {of} probe")
    for monitor in kinds.get("ServiceMonitor", []):
        hold(monitor["spec"]["endpoints"][0].get("scheme", "http") == ("https" if tls else "http"), "the scheme of scrapes")
    readiness = container["readinessProbe"]
    unseen = READINESS_GRACE + readiness["periodSeconds"] * readiness["failureThreshold"]
    hold(spec["minReadySeconds"] > unseen, "a rollout would pass before its trouble is seen")
    drain = seconds(text(toml, "shutdown.timeout", "30s"))
    hold(drain + 10 <= template["spec"]["terminationGracePeriodSeconds"] <= drain + 20, "the grace period")
    environment = {v["name"]: v.get("value") for v in container["env"]}
    hold(environment["LOGIN_PIPELINE__ADMIN__LISTEN"] == toml["admin"]["listen"], "the image's admin.listen wins")

    for policy in kinds.get("NetworkPolicy", []):
        match = policy["spec"]["podSelector"]["matchLabels"]
        hold(selects(match) and selects(match, check["metadata"]["labels"]), "the NetworkPolicy does not select all pods")
        out = {p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"]}
        brokers = toml["kafka"]["brokers"]
        brokers = brokers.split(",") if isinstance(brokers, str) else brokers
        hold({53} | {int(broker.rsplit(":", 1)[1]) for broker in brokers} <= out, f"brokers out of reach: only {out}")
        hold([p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]] == [port], "more comes in")

    scalers = kinds.get("HorizontalPodAutoscaler", []) + kinds.get("ScaledObject", [])
    for scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        hold((target["kind"], target["name"]) == (workload["kind"], name), "the autoscaler scales something else")
    hold(("replicas" in spec) != bool(scalers), "the replicas are the autoscaler's, or nobody's")

    mode = toml["assignment"]["mode"]
    if mode == "ordinal":
        hold(workload["kind"] == "StatefulSet", "ordinal mode without numbers")
        hold(toml["assignment"]["replicas"] == spec["replicas"], "the program is told another number of replicas")
        stored = text(toml, "offsets.store", "file") == "file"
        hold(stored == ("offsets" in claims), "a volume, where offsets are in files")
        if stored:
            path = next(m["mountPath"] for m in container["volumeMounts"] if m["name"] == "offsets")
            hold(toml["offsets"]["path"] == path == environment["LOGIN_PIPELINE__OFFSETS__PATH"], "the folder of offsets")
            hold(spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}, "offsets go")
    else:
        hold(mode == "group" and not claims, "group mode keeps its offsets with the brokers")
        identity = [v for v in container["env"] if v["name"] == "LOGIN_PIPELINE__GROUP__INSTANCE_ID"]
        hold(bool(identity) == (workload["kind"] == "StatefulSet"), "static members are a StatefulSet's")
    if workload["kind"] == "StatefulSet":
        hold(spec["serviceName"] == service["metadata"]["name"], "the StatefulSet's Service")

    files = {}
    for source in volumes.get("secrets", {"projected": {"sources": []}})["projected"]["sources"]:
        for item in (source.get("secret") or source["configMap"])["items"]:
            files[f"/etc/login-pipeline/secrets/{item['path']}"] = item["key"]
    named = set(re.findall(r'_file = "([^"]+)"', written))
    hold(named == files.keys(), f"mounted {sorted(files)}, configured {sorted(named)}")

    for rule in kinds.get("PrometheusRule", []):
        hold(rule["spec"] == yaml.safe_load((MONITORING / "alerts.yml").read_text()), "the rules are not deploy/monitoring's")
    for shown in kinds["ConfigMap"]:
        if shown is not config:
            dashboard = json.loads((MONITORING / "dashboard.json").read_text())
            hold(json.loads(shown["data"]["login-pipeline.json"]) == dashboard, "the dashboard is not deploy/monitoring's")

    return written, check["spec"]["containers"][0]["env"]


def main():
    manifests, out, *versions = sys.argv[1:]
    out = pathlib.Path(out)
    documents = [d for d in yaml.safe_load_all(pathlib.Path(manifests).read_text()) if d]
    for document in documents:
        valid(document, versions)
    written, environment = release(documents)
    (out / "config.toml").write_text(written)
    (out / "env").write_text("".join(f"{v['name']}={v['value']}\n" for v in environment if v["name"].startswith("LOGIN_")))
    for line in wrong:
        print(f"  {line}", file=sys.stderr)
    sys.exit(bool(wrong))


main()
