//! What deploy/monitoring asks for is what the program exports: metrics, labels, and entries in the runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use login_pipeline::observe::Observe;
use login_pipeline::record::Offset;
use serde_json::{Value, json};

/// What Prometheus adds to each series, and what its own recording and alerting make of them.
const OF_TARGETS: &[&str] = &["job", "instance", "namespace", "pod", "alertname", "alertstate"];

/// The exported series: their names as queries write them, and their labels.
type Exported = BTreeMap<String, BTreeSet<String>>;

#[test]
fn every_metric_is_described() {
    let page = page();
    let helped: BTreeMap<_, _> = with_prefix(&page, "# HELP ").filter_map(|rest| rest.split_once(' ')).collect();
    let typed: Vec<_> = with_prefix(&page, "# TYPE ").filter_map(|rest| rest.split_once(' ')).collect();
    assert!(typed.len() > 25, "{typed:?}");
    for (name, _) in typed {
        assert!(helped.get(name).is_some_and(|help| help.len() > 10), "{name} is not described");
    }
}

/// After a change of the metrics: `UPDATE_DOCS=1 cargo test --test house`.
#[test]
fn the_reference_of_metrics_is_what_is_exported() {
    const NAME: &str = "docs/reference/metrics.md";
    let rendered = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(NAME), &rendered).unwrap();
    }
    assert!(read(NAME) == rendered, "{NAME} is behind the metrics: UPDATE_DOCS=1 cargo test --test house");
}

#[test]
fn the_dashboard_asks_for_what_there_is_and_shows_all_of_it() {
    let text = read(DASHBOARD);
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    assert!(queries.len() > 40, "{}", queries.len());
    let exported = exported();
    let mut shown = BTreeSet::new();
    for query in &queries {
        shown.extend(check(query, &exported, &BTreeSet::new()).unwrap_or_else(|wrong| panic!("{wrong} in {query}")));
    }
    let family =
        |name: &str| name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count").to_owned();
    let shown: BTreeSet<_> = shown.iter().map(|name| family(name)).collect();
    let missing: BTreeSet<_> = exported.keys().map(|name| family(name)).filter(|name| !shown.contains(name)).collect();
    if !missing.is_empty() && std::env::var_os("UPDATE_DOCS").is_some() {
        let end = "\n  ]\n}\n";
        let panels = text.strip_suffix(end).expect("the panels are its last part");
        let new = missing.iter().enumerate().map(|(i, name)| format!(",\n{}", panel(&dashboard, name, i)));
        fs::write(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(DASHBOARD),
            panels.to_owned() + &new.collect::<String>() + end,
        )
        .unwrap();
        return;
    }
    assert!(missing.is_empty(), "on no panel: {missing:?}: UPDATE_DOCS=1 cargo test --test house");
    for variable in text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
        assert!(is_label(variable, &exported), "a legend has {variable}");
    }
}

const DASHBOARD: &str = "deploy/monitoring/dashboard.json";

/// A panel below all others for a family that is on none, made like the last, until somebody finds it a better place.
fn panel(dashboard: &Value, name: &str, nth: usize) -> String {
    let (page, exported) = (page(), exported());
    let family = name.strip_suffix("_total").unwrap_or(name);
    let line =
        |start: &'static str| with_prefix(&page, start).find_map(|rest| rest.strip_prefix(family)?.strip_prefix(' '));
    let (kind, help) = (line("# TYPE ").unwrap(), line("# HELP ").unwrap().trim_end_matches('.'));
    let series = if kind == "histogram" { format!("{name}_bucket") } else { name.to_owned() };
    let labels: Vec<_> = exported[&series].iter().map(String::as_str).filter(|label| *label != "le").collect();
    let chosen = format!("{series}{{job=~\"$job\", instance=~\"$instance\"}}");
    let rate = format!("rate({chosen}[$__rate_interval])");
    let by = |labels: &[&str]| if labels.is_empty() { String::new() } else { format!(" by ({}) ", labels.join(", ")) };
    let query = match kind {
        "histogram" => format!("histogram_quantile(0.95, sum{}({rate}))", by(&[&["le"], &labels[..]].concat())),
        "counter" => format!("sum{}({rate})", by(&labels)),
        _ => format!("max{}({chosen})", by(&labels)),
    };
    let panels = dashboard["panels"].as_array().unwrap();
    let highest = |of: &dyn Fn(&Value) -> u64| panels.iter().map(of).max().unwrap();
    let bottom = highest(&|panel| panel["gridPos"]["y"].as_u64().unwrap() + panel["gridPos"]["h"].as_u64().unwrap());
    let mut panel = panels.last().unwrap().clone();
    panel["id"] = (highest(&|panel| panel["id"].as_u64().unwrap()) + 1 + nth as u64).into();
    panel["title"] = name.trim_start_matches("login_pipeline_").replace('_', " ").into();
    panel["description"] = help.into();
    panel["gridPos"] = json!({ "h": 8, "w": 24, "x": 0, "y": bottom + 8 * nth as u64 });
    panel["targets"].as_array_mut().unwrap().truncate(1);
    panel["targets"][0]["expr"] = query.into();
    panel["targets"][0]["legendFormat"] =
        labels.iter().map(|label| format!("{{{{{label}}}}} ")).collect::<String>().trim_end().into();
    let unit = if family.ends_with("_seconds") {
        "s"
    } else if family.ends_with("_bytes") {
        "bytes"
    } else {
        "short"
    };
    panel["fieldConfig"]["defaults"]["unit"] = unit.into();
    panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] =
        if kind == "counter" { "normal" } else { "none" }.into();
    serde_json::to_string_pretty(&panel)
        .unwrap()
        .lines()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_family_on_no_panel_gets_one() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    for (name, query) in [
        ("login_pipeline_retries_total", "sum by (class, operation) (rate(login_pipeline_retries_total{"),
        ("login_pipeline_ready", "max(login_pipeline_ready{"),
        ("login_pipeline_produce_duration_seconds", "histogram_quantile(0.95, sum by (le, topic) (rate("),
    ] {
        let panel: Value = serde_json::from_str(&panel(&dashboard, name, 0)).unwrap();
        let expr = panel["targets"][0]["expr"].as_str().unwrap();
        assert!(expr.starts_with(query), "{expr}");
        check(expr, &exported(), &BTreeSet::new()).unwrap();
        assert!(dashboard["panels"].as_array().unwrap().iter().all(|other| other["id"] != panel["id"]));
    }
}

#[test]
fn the_alerts_ask_for_what_there_is() {
    let exported = exported();
    let rules = without_comments(&read("deploy/monitoring/alerts.yml"));
    let recorded: BTreeSet<_> = after(&rules, "- record: ").map(str::to_owned).collect();
    assert!(!recorded.is_empty());
    let asked = check(&rules, &exported, &recorded).unwrap_or_else(|wrong| panic!("{wrong} in alerts.yml"));
    assert!(asked.len() > 10, "{asked:?}");
    for label in rules.split("$labels.").skip(1).map(identifier) {
        assert!(is_label(label, &exported), "an annotation has {label}");
    }
}

#[test]
fn every_alert_is_tested_and_in_the_runbook() {
    let rules = without_comments(&read("deploy/monitoring/alerts.yml"));
    let (tests, runbook) = (read("deploy/monitoring/alerts_test.yml"), read("docs/guides/runbook.md"));
    let alerts: BTreeSet<_> = after(&rules, "- alert: ").collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    let urls: BTreeSet<_> = after(&rules, "runbook_url: ").collect();
    for alert in &alerts {
        let url = format!("docs/guides/runbook.md#{}", alert.to_lowercase());
        assert!(urls.contains(url.as_str()), "{alert} has no {url}");
        let fires =
            tests.contains(&format!("alertname=\"{alert}\"")) || tests.contains(&format!("alertname: {alert}\n"));
        assert!(fires, "{alert} has no test in which it fires");
    }
    assert_eq!(urls.len(), alerts.len());
    let entries: BTreeSet<_> = after(&runbook, "### ").filter(|entry| entry.starts_with("LoginPipeline")).collect();
    assert_eq!(entries, alerts, "the runbook's entries are the alerts");
}

#[test]
fn what_is_wrong_is_found() {
    let (exported, none) = (exported(), BTreeSet::new());
    for wrong in [
        "rate(login_pipeline_source_record_total[5m])",
        "login_pipeline_source_lag_records{partitoin=\"0\"}",
        "login_pipeline_ready{topic=\"t\"}",
        "sum by (namespace, route, toppic) (login_pipeline_ready)",
        "process_resident_bytes",
        "login_pipeline:lag:none",
    ] {
        assert!(check(wrong, &exported, &none).is_err(), "{wrong}");
    }
    assert!(
        check(
            "sum by (le) (rate(login_pipeline_fetch_duration_seconds_bucket{topic=~\"t{1}\"}[5m]))",
            &exported,
            &none
        )
        .is_ok()
    );
}

/// A page on which each family has a series.
fn page() -> String {
    let observe = Observe::new("1.2.3", &["device_type"], Duration::from_secs(10), Value::Null);
    observe.metrics.touch();
    let status = observe.partitions.partition("user-login", 0);
    status.committed(Offset(0));
    status.high_watermark(Offset(1));
    observe.metrics.encode()
}

/// `docs/reference/metrics.md`.
fn reference() -> String {
    let (page, exported) = (page(), exported());
    let typed: BTreeMap<_, _> = with_prefix(&page, "# TYPE ").filter_map(|rest| rest.split_once(' ')).collect();
    let mut text = METRICS_HEAD.to_owned();
    for (name, help) in with_prefix(&page, "# HELP ").filter_map(|rest| rest.split_once(' ')) {
        let series = ["", "_total", "_info", "_bucket"]
            .iter()
            .find_map(|suffix| exported.get_key_value(&format!("{name}{suffix}")));
        let (series, labels) = series.unwrap_or_else(|| panic!("{name} has no series"));
        let labels: Vec<_> = labels.iter().filter(|label| *label != "le").map(|label| format!("`{label}`")).collect();
        // Of a histogram all series are meant, and of others there is one.
        let (kind, series) = (typed[name], series.trim_end_matches("_bucket"));
        writeln!(text, "| `{series}` | {kind} | {} | {} |", labels.join(", "), help.replace('|', "\\|")).unwrap();
    }
    text
}

const METRICS_HEAD: &str = "\
# Metrics

<!-- Made from what is exported by tests/house/monitoring.rs; edit in src/observe. -->

`/metrics` on the admin port speaks Prometheus's text format, and OpenMetrics to who asks for that. A series appears with
what it counts: no route, no series of its rules. `deploy/monitoring` has a dashboard that shows all of them, and alerts.

| metric | type | labels | what it is |
|---|---|---|---|
";

fn exported() -> Exported {
    let mut exported = Exported::new();
    for line in page().lines().filter(|line| !line.starts_with('#')) {
        let name = identifier(line);
        let labels = selector(&line[name.len()..]).map(label_names).unwrap_or_default();
        exported.entry(name.to_owned()).or_default().extend(labels);
    }
    exported
}

/// The metrics that a text of PromQL names.
///
/// # Errors
/// What it names that there is not.
fn check(text: &str, exported: &Exported, recorded: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
    let mut asked = BTreeSet::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        rest = &rest[start..];
        let name = identifier(rest);
        rest = &rest[name.len()..];
        if name.contains(':') && name.starts_with("login_pipeline:") {
            if !recorded.contains(name.trim_end_matches(':')) {
                return Err(format!("{name}, which is not recorded"));
            }
        } else if name.starts_with("login_pipeline_") || name.starts_with("process_") {
            let labels = exported.get(name).ok_or_else(|| format!("{name}, which is not exported"))?;
            asked.insert(name.to_owned());
            for label in selector(rest).map(label_names).unwrap_or_default() {
                if !labels.contains(&label) && !OF_TARGETS.contains(&&*label) {
                    return Err(format!("{label}, which {name} has not"));
                }
            }
        } else if ["by", "without", "on"].contains(&name) && rest.trim_start().starts_with('(') {
            let list = rest.trim_start().trim_start_matches('(').split(')').next().unwrap_or_default();
            if let Some(label) = list.split(',').map(str::trim).find(|label| !is_label(label, exported)) {
                return Err(format!("{label}, which nothing has"));
            }
        }
    }
    Ok(asked)
}

fn is_label(label: &str, exported: &Exported) -> bool {
    OF_TARGETS.contains(&label) || exported.values().any(|labels| labels.contains(label))
}

/// What stands in the braces that a text begins with.
fn selector(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let mut quoted = false;
    let end = inner.find(|c| {
        quoted ^= c == '"';
        c == '}' && !quoted
    })?;
    inner.get(..end)
}

/// The names before the operators, with what is quoted left out.
fn label_names(selector: &str) -> Vec<String> {
    let unquoted: String = selector.split('"').step_by(2).collect();
    unquoted.split(',').map(|part| identifier(part.trim()).to_owned()).filter(|name| !name.is_empty()).collect()
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    &text[..end.unwrap_or(text.len())]
}

/// Each query of a dashboard: of panels, variables and annotations.
fn collect(value: &Value, queries: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if ["expr", "query", "definition"].contains(&&**name) => {
                        queries.push(text.clone())
                    }
                    _ => collect(value, queries),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, queries)),
        _ => {}
    }
}

fn without_comments(yaml: &str) -> String {
    let lines = yaml.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// The rests of the lines that begin so.
fn after<'a>(text: &'a str, start: &'static str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.trim_start().strip_prefix(start))
}

fn with_prefix<'a>(text: &'a str, start: &'static str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.strip_prefix(start))
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}
