//! Ten broken files, whose every mistake is told, and what else contradicts itself.

use std::path::Path;

use login_pipeline::config::Sources;

use super::{check, file, load, texts};

/// `check --config FILE` exits 64, prints nothing to stdout, and its problems begin with exactly
/// these lines, in this order.
fn assert_told(name: &str, problems: &[&str]) -> String {
    let path = file(name);
    let output = check(&["--config", path.to_str().unwrap()], &[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert!(output.stdout.is_empty());
    let told: Vec<_> = stderr.split("\n\n").skip(1).filter_map(|block| block.lines().next()).collect();
    assert_eq!(told, problems, "{stderr}");
    stderr
}

#[test]
fn typos() {
    let stderr = assert_told(
        "typos.toml",
        &[
            "assignment.partition: no such key",
            "brokers: no such key",
            "kafka.\"client id\": no such key",
            "kafka.broker: no such key",
            "kafka.request_timout: no such key",
            "outputs: no such section",
            "security: no such section",
            "source.partitioner: no such key",
            "source.topik: no such key",
        ],
    );
    for meant in ["assignment.partitions", "kafka.brokers", "kafka.client_id", "kafka.request_timeout", "output"] {
        assert!(stderr.contains(&format!("did you mean: {meant}\n")), "{meant} in {stderr}");
    }
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn types() {
    let stderr = assert_told(
        "types.toml",
        &[
            "admin: a section, not a key",
            "assignment.partitions: wrong type: a boolean instead of all or a list of partitions",
            "kafka.brokers: wrong type: a number instead of text or a list of texts",
            "kafka.client_id: wrong type: a number instead of text",
            "kafka.connect_timeout: wrong type: a boolean instead of text",
            "kafka.max_frame_bytes: wrong type: a list instead of a size",
            "offsets.path: wrong type: a table instead of text",
            "pipeline.worker_threads: wrong type: a number with a fraction instead of a whole number",
            "source.start: wrong type: a date instead of text",
            "source.topic: wrong type: a table instead of text",
            "topics.partitions: wrong type: a boolean instead of a whole number",
        ],
    );
    for found in ["9092", "[\"16MiB\"]", "1979-05-27T07:32:00Z", "{ name = \"user-login\" }"] {
        assert!(stderr.contains(&format!("found: {found} (file ")), "{found} in {stderr}");
    }
}

#[test]
fn durations() {
    let stderr = assert_told(
        "durations.toml",
        &[
            "kafka.connect_timeout: a duration needs a unit",
            "kafka.request_timeout: a duration needs a unit",
            "kafka.unknown_topic_grace: not a duration",
            "offsets.checkpoint_interval: not a duration",
            "retry.initial: out of range",
            "retry.max: out of range",
            "shutdown.timeout: not a duration",
            "source.max_wait: can't be zero",
            "stats.interval: not a duration",
        ],
    );
    assert!(stderr.contains("did you mean: 30s\n"), "{stderr}");
    assert!(stderr.contains("allowed: a duration from 1ms to 1h, such as 500ms, 30s or 1m 30s\n"), "{stderr}");
}

#[test]
fn sizes_and_numbers() {
    let stderr = assert_told(
        "sizes.toml",
        &[
            "kafka.max_frame_bytes: not a size in bytes",
            "output.max_batch_bytes: out of range",
            "pipeline.max_in_flight_bytes: not a size in bytes",
            "pipeline.worker_threads: out of range",
            "source.max_fetch_bytes: out of range",
            "topics.partitions: out of range",
            "topics.replication: out of range",
        ],
    );
    assert!(stderr.contains("allowed: a size from 1KiB to 100MiB, such as"), "{stderr}");
    assert!(stderr.contains("allowed: a whole number from 1 to 1024\n"), "{stderr}");
}

#[test]
fn words() {
    let stderr = assert_told(
        "words.toml",
        &[
            "assignment.mode: not one of the words",
            "dead_letter.oversize: not one of the words",
            "delivery.guarantee: not one of the words",
            "group.assignors: not one of the words",
            "group.protocol: not one of the words",
            "log.format: not one of the words",
            "log.level: not a level",
            "offsets.store: not one of the words",
            "output.compression: not one of the words",
            "output.partitioner: not one of the words",
            "pipeline.processor: not one of the words",
            "source.isolation: not one of the words",
            "source.on_offset_out_of_range: not one of the words",
            "source.reader: not one of the words",
            "source.start: not one of the words",
            "topics.create: not one of the words",
        ],
    );
    for meant in ["earliest", "zstd", "key", "login", "info,info"] {
        assert!(stderr.contains(&format!("did you mean: {meant}\n")), "{meant} in {stderr}");
    }
    assert!(stderr.contains("allowed: earliest, latest or fail\n"), "{stderr}");
}

#[test]
fn names_and_addresses() {
    let stderr = assert_told(
        "names.toml",
        &[
            "admin.listen: not an IP address and port",
            "assignment.partitions: a range that ends before it begins",
            "dead_letter.header_prefix: empty",
            "dead_letter.topic: a topic's name can't be empty",
            "kafka.brokers: a broker's address has no user name or password",
            "kafka.client_id: empty",
            "log.level: not filter directives",
            "offsets.path: empty",
            "output.topic: Kafka reserves this topic name",
            "source.topic: a character that topic names can't have",
        ],
    );
    assert!(stderr.contains("\"***@broker:9092\""), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn contradictions() {
    let stderr = assert_told(
        "contradictions.toml",
        &[
            "assignment.ordinal: only ordinal mode has this",
            "assignment.replicas: only ordinal mode has this",
            "dead_letter.topic: dead letters would go back to the source topic and be read again for ever",
            "dead_letter.topic: dead letters would lie among the good records",
            "offsets.topic: offsets would be read as source records",
            "offsets.topic: offsets would lie among the good records",
            "offsets.topic: offsets would lie among the dead letters",
            "output.topic: good records would go back to the source topic and be read again for ever",
            "retry.initial: the first pause would be longer than the longest",
            "source.max_fetch_bytes: a full fetch would not fit into what may be in flight",
            "source.max_fetch_bytes: a full fetch would not fit into the largest answer taken, with the offsets and aborted transactions around its records",
            "source.max_wait: a fetch that waits for records would pass its own deadline",
        ],
    );
    assert!(stderr.contains("found: retry.initial = \"11s\" (file "), "{stderr}");
    assert!(stderr.contains("found: retry.max = \"10s\" (default)\n"), "{stderr}");
}

#[test]
fn only_the_wire_reader_leaves_out_what_was_aborted() {
    let isolated = |reader| {
        let flags = texts(&[("source.isolation", "read_committed"), ("source.reader", reader)]);
        load(Sources { flags, ..Sources::default() })
    };
    let error = isolated("rskafka").unwrap_err().to_string();
    assert!(error.contains("source.isolation: rskafka would deliver the records of aborted transactions"), "{error}");
    assert!(error.contains("allowed: read_committed with source.reader = \"auto\" or \"wire\""), "{error}");
    assert_eq!(isolated("wire").unwrap().source.isolation, login_pipeline::config::Isolation::ReadCommitted);
}

#[test]
fn group_mode_keeps_its_offsets_in_the_group() {
    for (store, wrong) in [
        ("file", "a partition that moves to another instance would not find its offset there"),
        ("topic", "the group's coordinator and the owners in the offsets topic would each say who has a partition"),
    ] {
        let flags = texts(&[("assignment.mode", "group"), ("offsets.store", store)]);
        let error = load(Sources { flags, ..Sources::default() }).unwrap_err().to_string();
        assert!(error.contains(&format!("offsets.store: {wrong}")), "{error}");
        assert!(error.contains("allowed: group, or assignment.mode = static or ordinal"), "{error}");
        let flags = texts(&[("offsets.store", store)]);
        let error = load(Sources { flags, ..Sources::default() }).unwrap_err().to_string();
        assert!(error.contains(&format!("offsets.store: {wrong}")), "it is the default: {error}");
    }
    let flags = texts(&[("assignment.mode", "static"), ("offsets.store", "topic"), ("offsets.topic", "kept")]);
    assert!(load(Sources { flags, ..Sources::default() }).is_ok());
}

#[test]
fn exactly_once_keeps_its_offsets_in_the_group() {
    let exactly_once = ("delivery.guarantee", "exactly_once");
    for store in ["file", "topic"] {
        let flags = texts(&[exactly_once, ("offsets.store", store)]);
        let error = load(Sources { flags, ..Sources::default() }).unwrap_err().to_string();
        assert!(error.contains("delivery.guarantee: a transaction holds outputs and offsets together"), "{error}");
        assert!(error.contains("allowed: at_least_once, or offsets.store = group"), "{error}");
    }
    for more in [&[("assignment.mode", "static"), ("offsets.store", "group")][..], &[("assignment.mode", "group")], &[]]
    {
        let flags = texts(&[&[exactly_once], more].concat());
        assert!(load(Sources { flags, ..Sources::default() }).is_ok(), "{more:?}");
    }
    let flags = texts(&[("delivery.transaction_interval", "2s"), ("delivery.transaction_timeout", "2s")]);
    let error = load(Sources { flags, ..Sources::default() }).unwrap_err().to_string();
    assert!(error.contains("delivery.transaction_interval: brokers would throw away"), "{error}");
}

#[test]
fn ordinal_mode() {
    assert_told(
        "ordinal.toml",
        &[
            "assignment.discovery_interval: can't be zero",
            "assignment.ordinal: instance 3 of 3 does not exist",
            "assignment.partitions: a list of partitions in ordinal mode",
        ],
    );
}

#[test]
fn enrichment_and_privacy() {
    let stderr = assert_told(
        "enrich.toml",
        &[
            "enrich.geo: no such key",
            "enrich.geoip.chek_interval: no such key",
            "enrich.geoip.field: the event has a field of this name, or is given one",
            "enrich.static.\"two words\": a character that such names can't have",
            "enrich.static.1st: neither a letter nor `_` first",
            "enrich.static.empty: empty",
            "enrich.static.infinite: not a number that JSON has",
            "enrich.static.latency_ms: the event has a field of this name, or is given one",
            "enrich.static.list: wrong type: a list instead of text, a number or a boolean",
            "enrich.static.nested: wrong type: a table instead of text, a number or a boolean",
            "privacy.ip: not one of the words",
            "privacy.user_id: not one of the words",
        ],
    );
    for meant in ["enrich.geoip.check_interval", "truncate"] {
        assert!(stderr.contains(&format!("did you mean: {meant}\n")), "{meant} in {stderr}");
    }
}

#[test]
fn check_looks_at_the_database_of_countries() {
    let checked = |path: &Path| {
        let output = check(&["--enrich.geoip.file", path.to_str().unwrap()], &[]);
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let good = checked(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/countries.mmdb"));
    assert!(good.ends_with("# ok    enrich.geoip.file: Test-Country, built 2026-01-02, IPv6\n"), "{good}");
    let bad = checked(&file("good.toml"));
    let last = bad.lines().last().unwrap();
    assert!(last.starts_with("# WARN  enrich.geoip.file: ") && last.contains("is not a MaxMind DB file"), "{bad}");
}

#[test]
fn routes() {
    let stderr = assert_told(
        "routes.toml",
        &[
            "route[1].topic: a character that topic names can't have",
            "route[1].when: more than one of a kind",
            "route[2]: more than one of a kind",
            "route[2].when.matches: not a regular expression: found open group without closing ')'",
            "route[3]: no condition",
            "route[3].drop: a route that does not drop needs a topic",
            "route[3].whne: no such key",
            "route[4].topic: records would go back to the source topic and be read again for ever",
            "route[4].when.field: empty",
            "route[4].when.one_of: an empty list",
            "route[5].topic: good records would lie among the dead letters",
            "route[5].when: nothing to look at",
            "route[5].when.feild: no such key",
            "route[5].when.one_of: wrong type: a number instead of text",
            "route[6]: no destination",
            "route[6].when: wrong type: text instead of a table",
            "route[7].drop: wrong type: text instead of true",
            "route[7].when.equals: wrong type: a number instead of text",
        ],
    );
    for meant in ["when", "field"] {
        assert!(stderr.contains(&format!("did you mean: {meant}\n")), "{meant} in {stderr}");
    }
}

#[test]
fn security() {
    let stderr = assert_told(
        "security.toml",
        &[
            "kafka.sasl.allow_plaintext: neither true nor false",
            "kafka.sasl.mechanism: not one of the words",
            "kafka.sasl.password: only sasl_ssl and sasl_plaintext use this",
            "kafka.sasl.passwort: no such key",
            "kafka.sasl.username: empty",
            "kafka.tls.ca_file: only ssl and sasl_ssl use this",
            "kafka.tls.keyfile: no such key",
        ],
    );
    for meant in ["SCRAM-SHA-256", "kafka.sasl.password", "kafka.tls.key_file"] {
        assert!(stderr.contains(&format!("did you mean: {meant}\n")), "{meant} in {stderr}");
    }
    assert!(stderr.contains("found: kafka.sasl.password = [redacted] (file "), "{stderr}");
    assert!(!stderr.contains("canary"), "{stderr}");
}

#[test]
fn syntax() {
    let path = file("syntax.toml");
    let at = format!("{}:5:9: not TOML: ", path.display());
    let output = check(&["--config", path.to_str().unwrap()], &[("LOGIN_PIPELINE__KAFKA__BROKER", "x:1")]);
    assert_eq!(output.status.code(), Some(64));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&at), "{at} in {stderr}");
    assert!(stderr.contains("found: topic = user-login (line 5)\n"), "{stderr}");
    // What is known without the file is told all the same.
    assert!(stderr.contains("kafka.broker: no such key"), "{stderr}");
    assert!(stderr.contains("did you mean: LOGIN_PIPELINE__KAFKA__BROKERS"), "{stderr}");
}

#[test]
fn a_file_that_cannot_be_read() {
    let output = check(&["--config", "/nowhere/x.toml"], &[]);
    assert_eq!(output.status.code(), Some(64));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("/nowhere/x.toml: can't be read: No such file"), "{stderr}");

    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"[kafka]\nclient_id = \"\xff\"\n").unwrap();
    let problems = load(Sources { file: Some(binary.clone()), ..Sources::default() }).unwrap_err();
    assert_eq!(problems.to_string().lines().last().unwrap(), format!("{}:2:14: not UTF-8", binary.display()));
    // A folder is no file; the environment's name for it counts too.
    let output = check(&[], &[("LOGIN_PIPELINE_CONFIG", folder.path().to_str().unwrap())]);
    assert_eq!(output.status.code(), Some(64));
}

/// What is told of these flags, and of a file that holds this.
fn told_of(flags: &[(&str, &str)], toml: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    let loaded = load(Sources { file: Some(file.path().into()), flags: texts(flags), ..Sources::default() });
    loaded.err().map(|problems| problems.to_string()).unwrap_or_default()
}

#[test]
fn a_fetch_that_fills_the_largest_answer_is_refused() {
    let told = |fetch, frame| told_of(&[("source.max_fetch_bytes", fetch), ("kafka.max_frame_bytes", frame)], "");
    let same = told("1MiB", "1MiB");
    assert!(same.contains("source.max_fetch_bytes: a full fetch would not fit into the largest answer"), "{same}");
    assert!(same.contains("allowed: at most 931152B of these kafka.max_frame_bytes"), "{same}");
    assert_eq!(told("931152", "1MiB"), "");
    assert!(told("931153", "1MiB").contains("would not fit"));
    assert!(told("1KiB", "1KiB").contains("would not fit"));
    assert_eq!(told("4MiB", "16MiB"), "");
}

#[test]
fn a_route_into_the_offsets_topic_is_refused() {
    let route = |topic: &str| {
        format!("[[route]]\nwhen = {{ field = \"device_type\", equals = \"android\" }}\ntopic = \"{topic}\"\n")
    };
    let store = [("assignment.mode", "static"), ("offsets.store", "topic"), ("offsets.topic", "kept")];
    let told = told_of(&store, &route("kept"));
    assert!(told.contains("route[0].topic: records would lie among the offsets"), "{told}");
    assert!(
        told.contains("found: offsets.topic = \"kept\"") && told.contains("a topic other than offsets.topic"),
        "{told}"
    );
    assert_eq!(told_of(&store, &route("else")), "");
    assert_eq!(told_of(&[], &route("login-pipeline-offsets")), "", "the store is another");
}

#[test]
fn a_rule_that_would_do_nothing_is_refused() {
    let on_ip = "[[route]]\nwhen = { field = \"ip\", matches = \"^10\" }\ntopic = \"inside\"\n";
    assert_eq!(told_of(&[("privacy.ip", "truncate")], on_ip), "");
    let told = told_of(&[("privacy.ip", "remove")], on_ip);
    assert!(told.contains("route[0].when.field: privacy.ip removes it, so that the rule would do nothing"), "{told}");
    let again = format!("{on_ip}{}", on_ip.replace("inside", "outside"));
    let told = told_of(&[], &again);
    assert!(told.contains("route[1].when: whatever this holds of, route[0] decides first"), "{told}");
    let locale =
        |test: &str, topic: &str| format!("[[route]]\nwhen = {{ field = \"locale\", {test} }}\ntopic = \"{topic}\"\n");
    let first = locale("equals = \"RU\"", "a") + &locale("matches = \"^C\"", "b");
    let told = told_of(&[], &(first.clone() + &locale("one_of = [\"RU\", \"CA\"]", "c")));
    assert!(told.contains("route[2].when: whatever this holds of, route[0] or route[1] decides first"), "{told}");
    assert_eq!(told_of(&[], &(first + &locale("one_of = [\"RU\", \"DE\"]", "c"))), "", "DE is left to it");
}

#[test]
fn conditions_are_put_together() {
    let rule = |more: &str, when: &str| format!("[[route]]\n{more}\nwhen = {{ {when} }}\ntopic = \"t\"\n");
    let all = r#"all = [{ field = "latency_ms", gt = 1000, lt = 5 }]"#;
    assert!(told_of(&[], &rule("", all)).contains("route[0].when.all[0]: more than one of a kind"));
    for (more, when, wrong) in [
        ("", r#"all = []"#, "route[0].when.all: an empty list"),
        ("", r#"any = [{ field = "a" }]"#, "route[0].when.any[0]: no test of its value"),
        ("", r#"not = { header = "", equals = "1" }"#, "route[0].when.not.header: empty"),
        ("", r#"not = { field = "a", equals = "1" }, equals = "2""#, "route[0].when.equals: a test of nothing"),
        ("", r#"field = "latency_ms", gt = "much""#, "route[0].when.gt: wrong type: text instead of a number"),
        ("name = \"a rule\"", r#"field = "a", equals = "1""#, "route[0].name: not a name"),
    ] {
        let told = told_of(&[], &rule(more, when));
        assert!(told.contains(wrong), "{wrong}: {told}");
    }
    let deep = (0..20).fold(r#"{ field = "a", equals = "1" }"#.to_owned(), |deep, _| format!("{{ not = {deep} }}"));
    let told = told_of(&[], &format!("[[route]]\nwhen = {deep}\ndrop = true\n"));
    assert!(told.contains("nested deeper than 8"), "{told}");
    let named =
        rule("name = \"x\"", r#"field = "a", equals = "1""#) + &rule("name = \"x\"", r#"field = "b", equals = "1""#);
    assert!(told_of(&[], &named).contains("route[1].name: the name of another rule"));
}

#[test]
fn a_key_that_would_do_nothing_is_refused() {
    for (key, value, other, unless) in [
        (
            "offsets.topic",
            "kept",
            "offsets.store = \"group\"",
            &[("assignment.mode", "static"), ("offsets.store", "topic")][..],
        ),
        ("delivery.transaction_interval", "2s", "delivery.guarantee = ", &[("delivery.guarantee", "exactly_once")]),
        ("dead_letter.window", "2m", "is not set", &[("dead_letter.max_ratio", "0.5")]),
        ("dead_letter.on_limit", "stop", "no limit to pass", &[("dead_letter.max_consecutive", "5")]),
        ("enrich.geoip.field", "land", "no database", &[("enrich.geoip.file", "/x.mmdb")]),
        ("topics.replication", "3", "topics.create = ", &[("topics.create", "missing")]),
    ] {
        let told = told_of(&[(key, value)], "");
        assert!(
            told.starts_with("the configuration has 1 problem\n") && told.contains(&format!("\n{key}: ")),
            "{told}"
        );
        assert!(told.contains(other) || other.starts_with("offsets.store"), "{told}");
        assert_eq!(told_of(&[&[(key, value)], unless].concat(), ""), "", "{key}");
    }
    for (key, value) in [("group.session_timeout", "20s"), ("group.assignors", "range")] {
        assert_eq!(told_of(&[(key, value)], ""), "", "{key}");
        let told = told_of(&[(key, value), ("assignment.mode", "static")], "");
        assert!(told.contains(&format!("\n{key}: only group mode has members")), "{told}");
    }
    let path = ("offsets.path", "/var/lib/login-pipeline");
    let told = told_of(&[path], "");
    assert!(told.contains("offsets.path: offsets in files are not the default") && told.contains("= static"), "{told}");
    for says in ["group", "static"] {
        assert_eq!(told_of(&[path, ("assignment.mode", says)], ""), "", "a fleet may be given it: {says}");
    }
    let group = |more: &[(&str, &str)]| told_of(&[&[("assignment.mode", "group")], more].concat(), "");
    assert!(
        group(&[("group.protocol", "consumer"), ("group.assignors", "range")]).contains("only the classic protocol")
    );
    assert!(group(&[("group.protocol", "classic"), ("group.server_assignor", "range")]).contains("a classic group's"));
    for (key, default) in [("offsets.topic", "login-pipeline-offsets"), ("group.session_timeout", "45s")] {
        assert_eq!(told_of(&[(key, default)], ""), "", "what check prints loads again");
    }
}

#[test]
fn the_number_of_replicas_may_be_left_to_the_broker() {
    let create = ("topics.create", "missing");
    assert_eq!(load(Sources::default()).unwrap().topics.replication, -1);
    for (replication, wrong) in [("-1", ""), ("3", ""), ("0", "a topic without a replica"), ("-2", "out of range")] {
        let told = told_of(&[create, ("topics.replication", replication)], "");
        assert!(told.contains(wrong) && told.is_empty() == wrong.is_empty(), "{replication}: {told}");
    }
}
