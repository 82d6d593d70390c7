#!/usr/bin/env bash
# Alerts and their tests by promtool, the YAML beside them, and the log shipper by itself. That the metrics and labels
# exist is held by `cargo test --test house`.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"
cd -- "$ROOT/deploy/monitoring"
apt_tools promtool=prometheus
pip_tools checks

promtool check rules alerts.yml
promtool test rules alerts_test.yml
promtool check config prometheus.yml
# Long lines are the input of tests, a series each.
yamllint --strict --config-data '{extends: default, rules: {line-length: {max: 120}, document-start: disable,
    braces: disable, comments: {min-spaces-from-content: 1}}}' alerts.yml prometheus.yml grafana
python3 -m json.tool dashboard.json /dev/null

# Anchors are the names in small letters, as GitHub makes them.
while read -r anchor; do
    grep -qix "### $anchor" "$ROOT/docs/guides/runbook.md" || die "docs/guides/runbook.md has no entry $anchor"
done < <(sed -n 's/^ *runbook_url: docs\/guides\/runbook\.md#//p' alerts.yml)
say "$(grep -c -- '- alert:' alerts.yml) alerts, each with an entry in docs/guides/runbook.md"

# The log shipper's file as it is; then lines through it, with a file where the network was.
apt_tools rsyslogd=rsyslog
work=$(mktemp -d)
# It stores its place as it ends, in the folder that is to go: ended first.
end() {
    if [[ -n $shipper ]]; then kill "$shipper" && wait "$shipper" || true; fi
    rm -rf "$work"
}
trap end EXIT
shipper=
printf 'global(workDirectory="%s")\n' "$work" >"$work/head"
cat "$work/head" rsyslog.conf >"$work/whole.conf"
rsyslogd -N1 -f "$work/whole.conf" 2>"$work/said" || { cat "$work/said" >&2; die "rsyslog refuses its file"; }
{
    cat "$work/head"
    printf 'module(load="imfile")\ninput(type="imfile" file="%s/in" tag="login-pipeline:" addMetadata="off")\n' "$work"
    sed -e '/^global/d' -e "/^    action($/,/^    )$/c action(type=\"omfile\" file=\"$work/out\" template=\"LoginPipelineLine\")" rsyslog.conf
} >"$work/trial.conf"
cat >"$work/in" <<'LOG'
{"timestamp":"2026-01-02T03:04:05.6Z","level":"WARN","class":"transient","attempts":1,"message":"read t/3: a \"quoted\" error","target":"login_pipeline::retry::operation"}
login-pipeline: kafka.brokers is wrong
LOG
rsyslogd -n -i "$work/pid" -f "$work/trial.conf" 2>"$work/said" &
shipper=$!
for _ in $(seq 600); do
    [[ -f $work/out && $(wc -l <"$work/out") -ge 2 ]] && break
    sleep 0.1
done
python3 - "$work/out" <<'PY' || { cat "$work/said" "$work/out" >&2; die "rsyslog makes something else of the log"; }
import json, sys
first, second = (json.loads(line) for line in open(sys.argv[1]))
assert first.pop("host") and first == {
    "timestamp": "2026-01-02T03:04:05.6Z", "level": "WARN", "class": "transient", "attempts": 1,
    "message": 'read t/3: a "quoted" error', "target": "login_pipeline::retry::operation"}, first
assert second.pop("host") and second.pop("message").strip() == "login-pipeline: kafka.brokers is wrong"
assert second == {"level": "ERROR"}, second
PY
say "the log's lines arrive as they were"
