#!/usr/bin/env bash
# The Helm chart: linted, rendered for each file of values in its ci/ and held against two versions of Kubernetes, against
# itself and against the program, which has to take the configuration. Values that must be refused are, with the reason.
# LOGIN_PIPELINE_BIN names a program that is built already.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT"
# The oldest that Chart.yaml allows, and the newest that the schemas know.
OLDEST=1.29
NEWEST=1.37
go_tool helm helm.sh/helm/v3/cmd/helm@v3.22.0
pip_tools checks
apt_tools openssl=openssl

HERE=tools/deploy/check/helm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
wrong() { say "$*"; failed=1; }

# The package, not the folder: it is what people install, and symbolic links are files in it.
helm package --destination "$work" deploy/helm/login-pipeline >/dev/null 2>"$work/messages" || die "$(<"$work/messages")"
tar --touch -xzf "$work"/login-pipeline-*.tgz -C "$work"
CHART=$work/login-pipeline
for file in alerts.yml dashboard.json; do
    cmp "deploy/monitoring/$file" "$CHART/files/$file" || wrong "the chart has another $file than deploy/monitoring"
done

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
grep -qx "appVersion: $version" "$CHART/Chart.yaml" || wrong "Chart.yaml's appVersion is not the program's, $version"

# Each value has its line in the README.
while read -r value; do
    grep -q "^|.*\`${value}[.\`].*|" deploy/helm/login-pipeline/README.md || wrong "the chart's README does not know $value"
done < <(sed -n 's/^\([A-Za-z]*\):.*/\1/p' "$CHART/values.yaml")

find_program

# What the program finds where Secrets are mounted.
mkdir "$work/secrets"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=check -days 1 \
    -keyout "$work/secrets/tls.key" -out "$work/secrets/tls.crt" 2>/dev/null
cp "$work/secrets/tls.crt" "$work/secrets/ca.crt"
cp "$work/secrets/tls.crt" "$work/secrets/token-endpoint-ca.crt"
printf check >"$work/secrets/sasl-password"
printf check >"$work/secrets/sasl-token"
printf check >"$work/secrets/sasl-client-secret"
openssl rand -hex 32 >"$work/secrets/admin-token"
cp "$work/secrets/tls.crt" "$work/secrets/admin-tls.crt"
cp "$work/secrets/tls.key" "$work/secrets/admin-tls.key"
cp "$work/secrets/tls.crt" "$work/secrets/admin-client-ca.crt"

# render VALUES [FLAG...]: for a release `my` in the namespace `apps`. Values that do not name an image go on top of the
# smallest that work.
render() {
    local values=(--values "$1")
    grep -q ^image: "$1" || values=(--values deploy/helm/login-pipeline/ci/minimal.yaml --values "$1")
    helm template my "$CHART" --namespace apps --kube-version "$OLDEST" "${values[@]}" "${@:2}"
}

cases=0
for values in deploy/helm/login-pipeline/ci/*.yaml; do
    cases=$((cases + 1))
    helm lint --strict --quiet --kube-version "$OLDEST" --values "$values" "$CHART" >"$work/messages" 2>&1 ||
        wrong "$values: $(<"$work/messages")"
    if ! render "$values" >"$work/manifests.yaml" 2>"$work/messages"; then
        wrong "$values: $(<"$work/messages")"
        continue
    fi
    if ! python3 "$HERE/manifests.py" "$work/manifests.yaml" "$work" "$OLDEST" "$NEWEST"; then
        wrong "$values: wrong manifests"
        continue
    fi
    sed -i "s|/etc/login-pipeline/secrets/|$work/secrets/|" "$work/config.toml"
    mapfile -t environment <"$work/env"
    if ! env "${environment[@]}" "$program" check --config "$work/config.toml" >"$work/printed.toml" 2>"$work/messages"; then
        wrong "$values: the program refuses the configuration: $(<"$work/messages")"
        continue
    fi
    python3 "$HERE/understood.py" "$values" "$work/config.toml" "$work/printed.toml" || wrong "$values: is understood otherwise"
done

# The first line of each says what has to be said.
refused=0
for values in "$HERE"/refused/*.yaml; do
    refused=$((refused + 1))
    expected=$(sed -n '1s/^# //p' "$values")
    if render "$values" >/dev/null 2>"$work/messages"; then
        wrong "$values: is not refused"
    elif ! grep -qF -- "$expected" "$work/messages"; then
        wrong "$values: is refused, but not for \"$expected\": $(<"$work/messages")"
    fi
done

# Durations as the program reads them; the grace period is 15 s more, in whole seconds.
for pair in 90sec=105 1.5m=105 "1 hour=3615" "2 min 5 s=140" 1m30s=105 1500ms=17 1ms=16; do
    render deploy/helm/login-pipeline/ci/minimal.yaml --set-string "config.shutdown.timeout=${pair%=*}" >"$work/manifests.yaml"
    grep -q "terminationGracePeriodSeconds: ${pair#*=}\$" "$work/manifests.yaml" || wrong "shutdown.timeout ${pair%=*} is not ${pair#*=} s"
done

# NOTES.txt is rendered by an install only, which asks a cluster. So it is rendered from within a manifest.
mv "$CHART/templates/NOTES.txt" "$CHART/notes"
printf 'notes: {{ tpl (.Files.Get "notes") . | quote }}\n' >"$CHART/templates/notes.yaml"
notes() { render "$@" --show-only templates/notes.yaml; }
warned=0
for values in "$HERE"/warned/*.yaml; do
    warned=$((warned + 1))
    expected=$(sed -n '1s/^# //p' "$values")
    notes "$values" >"$work/messages" 2>&1 || wrong "$values: $(<"$work/messages")"
    grep -qF -- "$expected" "$work/messages" || wrong "$values: NOTES do not say \"$expected\""
done
# And nothing where there is nothing to say.
notes deploy/helm/login-pipeline/ci/tls-sasl.yaml >"$work/messages" 2>&1 || wrong "$(<"$work/messages")"
if grep -q "Look at this" "$work/messages"; then wrong "NOTES warn without a reason: $(<"$work/messages")"; fi

((failed == 0)) || exit 1
say "$cases sets of values hold with Kubernetes $OLDEST and $NEWEST, $refused are refused, $warned warned of"
