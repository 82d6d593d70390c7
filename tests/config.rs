//! The configuration from outside: ten broken files whose every mistake is told, and what sources
//! mean together.

// Tests all of it, helpers too; clippy.toml's permission reaches only the functions marked so.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use login_pipeline::config::schema::KEYS;
use login_pipeline::config::{AssignmentMode, Config, Problems, SecurityProtocol, Sources, StartAt};
use proptest::prelude::{prop_assert, proptest};

/// The program with nothing in its environment but `env`.
fn check(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
    command.arg("check").args(args).env_clear().envs(env.iter().copied()).output().unwrap()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(name)
}

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
            "source.max_fetch_bytes: a full fetch would not fit into the largest answer taken",
            "source.max_fetch_bytes: a full fetch would not fit into what may be in flight",
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
    assert!(error.contains("allowed: read_committed with source.reader = \"wire\""), "{error}");
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
        assert!(error.contains("allowed: group, in group mode"), "{error}");
    }
    let flags = texts(&[("offsets.store", "topic"), ("offsets.topic", "kept")]);
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
    for more in [("offsets.store", "group"), ("assignment.mode", "group")] {
        assert!(load(Sources { flags: texts(&[exactly_once, more]), ..Sources::default() }).is_ok());
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
fn a_pseudonym_needs_a_key_and_a_key_a_pseudonym() {
    let told = |pairs: &[(&str, &str)]| {
        let error = load(Sources { flags: texts(pairs), ..Sources::default() }).map(drop);
        error.map_err(|problems| problems.to_string()).err().unwrap_or_default()
    };
    assert!(told(&[("privacy.ip", "hmac_sha256")]).contains("privacy.key_file: hmac_sha256 needs a key"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let key = [("privacy.key_file", path.to_str().unwrap())];
    assert!(told(&key).contains("privacy.key_file: only hmac_sha256 uses this"));
    let hashed = [key[0], ("privacy.user_id", "hmac_sha256")];
    assert!(told(&hashed).contains("can't be read: "));
    std::fs::write(&path, "canary").unwrap();
    let short = told(&hashed);
    assert!(short.contains("holds a key of fewer than 16 bytes") && !short.contains("canary"), "{short}");
    std::fs::write(&path, "canary-0123456789").unwrap();
    assert_eq!(told(&hashed), "");
    for path in ["enrich.static", "enrich.static.region"] {
        assert!(told(&[(path, "x")]).contains("enrich.static: fields to add are set in the file only"));
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
            "route[5].when: no field",
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

#[test]
fn a_good_file_prints_what_loads_back() {
    let path = file("good.toml");
    let output = check(&["--config", path.to_str().unwrap()], &[("LOGIN_PIPELINE__RETRY__MAX", "20s")]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());

    let printed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(printed.path(), &output.stdout).unwrap();
    let again = load(Sources { file: Some(printed.path().into()), ..Sources::default() }).unwrap();
    let env = texts(&[("LOGIN_PIPELINE__RETRY__MAX", "20s")]);
    assert_eq!(again, load(Sources { file: Some(path), env, ..Sources::default() }).unwrap());
    assert_eq!(again.kafka.brokers, ["broker-1:9092", "[::1]:9093"]);
    assert_eq!(again.assignment.mode, AssignmentMode::Static { partitions: Some(vec![0, 2, 5, 6, 7]) });
    assert_eq!(again.route.len(), 3);
}

#[test]
fn every_key_survives_printing() {
    let values = [
        ("kafka.brokers", "[::1]:1,b:2"),
        ("kafka.client_id", "a \"quoted\" \\ name"),
        ("kafka.request_timeout", "1h"),
        ("kafka.connect_timeout", "1s 1ms 1us"),
        ("kafka.max_frame_bytes", "1000001"),
        ("kafka.unknown_topic_grace", "1day"),
        ("source.topic", "a"),
        ("source.reader", "wire"),
        ("source.isolation", "read_committed"),
        ("source.start", "latest"),
        ("source.on_offset_out_of_range", "fail"),
        ("source.max_fetch_bytes", "2kB"),
        ("source.max_wait", "1ms"),
        ("output.topic", "b"),
        ("output.partitioner", "key"),
        ("output.compression", "zstd"),
        ("output.max_batch_bytes", "100MiB"),
        ("dead_letter.topic", "c"),
        ("dead_letter.header_prefix", "\u{e9}."),
        ("dead_letter.oversize", "block"),
        ("dead_letter.max_ratio", "0.125"),
        ("dead_letter.window", "2m"),
        ("dead_letter.min_records", "7"),
        ("dead_letter.max_consecutive", "1000000000"),
        ("dead_letter.on_limit", "stop"),
        ("enrich.geoip.file", "/a/b.mmdb"),
        ("enrich.geoip.field", "_land"),
        ("enrich.geoip.check_interval", "1ms"),
        ("privacy.ip", "truncate"),
        ("privacy.user_id", "remove"),
        ("privacy.device_id", "remove"),
        ("assignment.mode", "ordinal"),
        ("assignment.ordinal", "2"),
        ("assignment.replicas", "3"),
        ("assignment.discovery_interval", "1m"),
        ("group.id", "a group"),
        ("group.instance_id", "b"),
        ("group.protocol", "classic"),
        ("group.assignors", "roundrobin,range"),
        ("group.server_assignor", "range"),
        ("group.session_timeout", "1m"),
        ("group.heartbeat_interval", "20s"),
        ("group.rebalance_timeout", "2m"),
        ("offsets.store", "group"),
        ("offsets.path", "./off\u{7f}\" \\ \n\u{1f600}sets"),
        ("offsets.topic", "d"),
        ("offsets.checkpoint_interval", "2s"),
        ("delivery.guarantee", "exactly_once"),
        ("delivery.transactional_id_prefix", "a prefix"),
        ("delivery.transaction_version", "auto"),
        ("delivery.transaction_interval", "2ms"),
        ("delivery.transaction_max_bytes", "3KiB"),
        ("delivery.transaction_timeout", "1h"),
        ("pipeline.max_in_flight_bytes", "1GiB"),
        ("pipeline.worker_threads", "1024"),
        ("retry.initial", "1ms"),
        ("retry.max", "1ms"),
        ("stats.interval", "1day"),
        ("admin.listen", "[::]:0"),
        ("log.format", "json"),
        ("log.level", "debug,a=off"),
        ("shutdown.timeout", "1h"),
        ("topics.create", "missing"),
        ("topics.partitions", "7"),
        ("topics.replication", "3"),
    ];
    // These have one value only, belong to the other mode, or are tests of their own further down.
    let not_here = [
        "pipeline.processor",
        "assignment.partitions",
        "kafka.security_protocol",
        "admin.token_file",
        "privacy.key_file",
    ];
    for key in KEYS.iter().filter(|key| !key.path.starts_with("kafka.tls.") && !key.path.starts_with("kafka.sasl.")) {
        assert!(values.iter().any(|(path, _)| *path == key.path) || not_here.contains(&key.path), "{}", key.path);
    }
    let config = load(Sources { flags: texts(&values), ..Sources::default() }).unwrap();
    assert_round_trip(&config);
    assert_round_trip(&Config::default());
}

fn assert_round_trip(config: &Config) {
    let printed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(printed.path(), config.to_toml().unwrap()).unwrap();
    let again = load(Sources { file: Some(printed.path().into()), ..Sources::default() }).unwrap();
    assert_eq!(&again, config);
}

#[test]
fn the_default_is_what_loading_nothing_gives() {
    let config = Config::default();
    assert_eq!(load(Sources::default()), Ok(config.clone()));
    assert_eq!(config.kafka.brokers, ["localhost:9092"]);
    assert_eq!(config.source.start, StartAt::Earliest);
    assert_eq!(config.assignment.mode, AssignmentMode::Static { partitions: None });
    assert_eq!((config.pipeline.worker_threads, config.topics.partitions), (None, None));
}

#[test]
fn flags_go_over_environment_over_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "kafka = { client_id = \"file\", brokers = [\"a:1\", \"b:1\"] }\n[source]\ntopic = \"file\"\n[output]\ntopic = \"file-out\"").unwrap();
    let sources = Sources {
        file: Some(file),
        env: texts(&[("LOGIN_PIPELINE__KAFKA__CLIENT_ID", "env"), ("LOGIN_PIPELINE__SOURCE__TOPIC", "env")]),
        flags: vec![("kafka.client_id".into(), "flag".into())],
        hostname: None,
    };
    let config = load(sources).unwrap();
    assert_eq!(config.kafka.client_id, "flag");
    assert_eq!(config.source.topic, "env");
    assert_eq!(config.output.topic, "file-out");
    assert_eq!(config.kafka.brokers, ["a:1", "b:1"]);
    assert_eq!(config.dead_letter.topic, "user-login-dlq");
}

#[test]
fn a_problem_names_who_set_it() {
    let variables = [
        ("LOGIN_PIPELINE__KAFKA__BROKER", "x:1"),
        ("LOGIN_PIPELINE__KAFKA__CONNECT_TIMEOUT", "\u{1b}[2J"),
        ("LOGIN_PIPELINE_SOURCE_TOPIC", "t"),
        ("LOGIN_PIPELINE__ROUTE", "x"),
        ("LOGIN_PIPELINE__KAFKA", "x"),
    ];
    let flags = vec![("output.topics".to_owned(), "x".to_owned()), ("stats.interval".to_owned(), "x".repeat(1000))];
    let problems = load(Sources { env: texts(&variables), flags, ..Sources::default() }).unwrap_err();
    let told: Vec<_> = problems
        .iter()
        .map(|p| (p.path.as_str(), p.found[0].origin.as_str(), p.did_you_mean.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        told,
        [
            ("kafka", "environment variable LOGIN_PIPELINE__KAFKA", ""),
            ("kafka.broker", "environment variable LOGIN_PIPELINE__KAFKA__BROKER", "LOGIN_PIPELINE__KAFKA__BROKERS"),
            ("kafka.connect_timeout", "environment variable LOGIN_PIPELINE__KAFKA__CONNECT_TIMEOUT", ""),
            ("output.topics", "flag --output.topics", "--output.topic"),
            ("route", "environment variable LOGIN_PIPELINE__ROUTE", ""),
            ("source.topic", "environment variable LOGIN_PIPELINE_SOURCE_TOPIC", "LOGIN_PIPELINE__SOURCE__TOPIC"),
            ("stats.interval", "flag --stats.interval", ""),
        ]
    );
    let text = problems.to_string();
    assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.chars().count() < 150), "{text}");
}

#[test]
fn ordinal_mode_counts_by_the_host_name() {
    let ordinal = |hostname: Option<&str>, more: &[(&str, &str)]| {
        let flags = [("assignment.mode", "ordinal")].iter().chain(more).map(|(k, v)| (k.to_string(), v.to_string()));
        load(Sources { flags: flags.collect(), hostname: hostname.map(str::to_owned), ..Sources::default() })
            .map(|config| config.assignment.mode)
            .map_err(|problems| problems.iter().map(|problem| problem.wrong.clone()).collect::<Vec<_>>())
    };
    let replicas = ("assignment.replicas", "4");
    let mode = |ordinal| Ok(AssignmentMode::Ordinal { ordinal, replicas: 4 });
    assert_eq!(ordinal(Some("login-pipeline-3"), &[replicas]), mode(3));
    assert_eq!(ordinal(Some("login-pipeline-3"), &[replicas, ("assignment.ordinal", "0")]), mode(0));
    let wrong = |wrong: &str| Err(vec![wrong.to_owned()]);
    assert_eq!(ordinal(Some("login-pipeline-4"), &[replicas]), wrong("instance 4 of 4 does not exist"));
    assert_eq!(ordinal(Some("a-1"), &[]), wrong("ordinal mode needs the number of instances"));
    assert_eq!(
        ordinal(Some("laptop"), &[replicas]),
        wrong("ordinal mode needs this instance's number, and host name \"laptop\" does not end in one")
    );
    assert_eq!(
        ordinal(None, &[replicas]),
        wrong("ordinal mode needs this instance's number, and there is no host name to take it from")
    );
    assert_eq!(ordinal(Some("a-1"), &[("assignment.replicas", "none")]), wrong("not a whole number"));
}

#[test]
fn wrong_usage_exits_64_and_help_0() {
    for (args, code) in [
        (&["--kafka.broker", "x"][..], 64),
        (&["--log.level"], 64),
        (&["--log.level", "info", "--log.level", "info"], 64),
        (&["--help"], 0),
    ] {
        assert_eq!(check(args, &[]).status.code(), Some(code), "{args:?}");
    }
    let help = String::from_utf8(check(&["--help"], &[]).stdout).unwrap();
    for key in KEYS {
        assert_eq!(help.contains(&format!("--{} <", key.path)), !key.is_secret(), "{}", key.path);
    }
}

/// A CA's certificate and a client's certificate and key, in files of these names.
fn pem_files(folder: &Path) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(&key).unwrap();
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("client.pem", certificate.pem()),
        ("client.key", key.serialize_pem()),
        ("other.key", ca_key.serialize_pem()),
        ("password", "canary-file\n".to_owned()),
        ("token", "canary.token".to_owned()),
        ("empty", String::new()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// What is wrong with a `[kafka]` of these lines, where `@` stands for a folder of PEM files.
fn told_of(kafka: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    pem_files(folder.path());
    let at = format!("{}/", folder.path().display());
    let file = folder.path().join("config.toml");
    std::fs::write(&file, format!("[kafka]\n{}", kafka.replace('@', &at))).unwrap();
    let problems = match load(Sources { file: Some(file), ..Sources::default() }) {
        Ok(config) => {
            let sasl = &config.kafka.security.sasl;
            // What is printed has no secrets to load.
            if sasl.password.is_none() && sasl.token_endpoint.client_secret.is_none() {
                assert_round_trip(&config);
            }
            return Vec::new();
        }
        Err(problems) => problems,
    };
    assert!(!problems.to_string().contains("canary"), "{problems}");
    problems.iter().map(|problem| format!("{}: {}", problem.path, problem.wrong).replace(&at, "@")).collect()
}

#[test]
fn tls_has_its_files_and_they_hold_what_they_must() {
    let nothing: [&str; 0] = [];
    assert_eq!(told_of("security_protocol = 'ssl'"), nothing);
    let all = "tls = { ca_file = '@ca.pem', cert_file = '@client.pem', key_file = '@client.key' }";
    assert_eq!(told_of(&format!("security_protocol = 'ssl'\n{all}")), nothing);
    for (tls, wrong) in [
        (
            "{ cert_file = '@client.pem' }",
            &["kafka.tls.key_file: a client certificate and its private key go together"][..],
        ),
        (
            "{ key_file = '@client.key' }",
            &["kafka.tls.cert_file: a client certificate and its private key go together"],
        ),
        (
            "{ ca_file = '@none', cert_file = '@client.pem', key_file = '@other.key' }",
            &[
                "kafka.tls.ca_file: @none: can't be read: No such file or directory (os error 2)",
                "kafka.tls.cert_file: @other.key: is not the key of the certificate in @client.pem",
            ],
        ),
        (
            "{ ca_file = '@password', cert_file = '@', key_file = '@client.key' }",
            &[
                "kafka.tls.ca_file: @password: holds no certificate: a PEM file has -----BEGIN CERTIFICATE----- in it",
                "kafka.tls.cert_file: @: is not a file",
            ],
        ),
    ] {
        assert_eq!(told_of(&format!("security_protocol = 'ssl'\ntls = {tls}")), wrong, "{tls}");
    }
    assert_eq!(
        told_of("security_protocol = 'ssl'\nbrokers = ['a:1', '[::1]:2']"),
        ["kafka.brokers: a numeric IPv6 address can't be used with TLS"]
    );
}

#[test]
fn sasl_has_a_mechanism_and_what_it_needs() {
    for (protocol, sasl, wrong) in [
        ("sasl_ssl", "{ mechanism = 'PLAIN', username = 'u', password = 'canary' }", &[][..]),
        ("sasl_plaintext", "{ mechanism = 'SCRAM-SHA-256', username = 'u', password_file = '@password' }", &[]),
        ("sasl_plaintext", "{ mechanism = 'OAUTHBEARER', token_file = '@token', allow_plaintext = true }", &[]),
        ("sasl_ssl", "{}", &["kafka.sasl.mechanism: SASL needs a mechanism"]),
        (
            "sasl_ssl",
            "{ mechanism = 'SCRAM-SHA-512', token_file = '@token' }",
            &[
                "kafka.sasl.password: SCRAM-SHA-512 needs a password",
                "kafka.sasl.token_file: only OAUTHBEARER uses this",
                "kafka.sasl.username: SCRAM-SHA-512 needs a user",
            ],
        ),
        (
            "sasl_ssl",
            "{ mechanism = 'OAUTHBEARER', username = 'u', password = 'canary' }",
            &[
                "kafka.sasl.password: OAUTHBEARER does not use this",
                "kafka.sasl.token_file: OAUTHBEARER needs a token",
                "kafka.sasl.username: OAUTHBEARER does not use this",
            ],
        ),
        (
            "sasl_plaintext",
            "{ mechanism = 'PLAIN', username = 'u', password = 'canary', password_file = '@empty' }",
            &[
                "kafka.sasl.allow_plaintext: PLAIN over sasl_plaintext lets the network read the password or token",
                "kafka.sasl.password: the password is set twice",
            ],
        ),
        (
            "sasl_ssl",
            "{ mechanism = 'PLAIN', username = 'u', password_file = '@empty' }",
            &["kafka.sasl.password_file: @empty: holds no password"],
        ),
        (
            "sasl_ssl",
            "{ mechanism = 'OAUTHBEARER', token_file = '@ca.pem' }",
            &["kafka.sasl.token_file: @ca.pem: holds a control character, or several lines"],
        ),
        (
            "ssl",
            "{ mechanism = 'PLAIN', allow_plaintext = true }",
            &[
                "kafka.sasl.allow_plaintext: only sasl_ssl and sasl_plaintext use this",
                "kafka.sasl.mechanism: only sasl_ssl and sasl_plaintext use this",
            ],
        ),
    ] {
        let found = told_of(&format!("security_protocol = '{protocol}'\nsasl = {sasl}"));
        assert_eq!(found, wrong, "{protocol} {sasl}");
    }
}

#[test]
fn a_token_endpoint_has_a_client_and_its_secret() {
    const URL: &str = "token_endpoint_url = 'https://login.example/token'";
    const CLIENT: &str = "client_id = 'c', client_secret = 'canary'";
    for (keys, wrong) in [
        (format!("{URL}, {CLIENT}"), &[][..]),
        (
            format!(
                "{URL}, client_id = 'c', client_secret_file = '@password', scope = 'a b', token_endpoint_ca_file = '@ca.pem'"
            ),
            &[],
        ),
        (format!("token_endpoint_url = 'http://127.0.0.1:1/token', {CLIENT}"), &[]),
        (format!("token_endpoint_url = 'http://login.example/token', {CLIENT}, allow_plaintext = true"), &[]),
        (
            URL.to_owned(),
            &[
                "kafka.sasl.client_id: a token endpoint gives tokens to a client that it knows",
                "kafka.sasl.client_secret: a token endpoint wants the client's secret",
            ],
        ),
        (
            format!("{URL}, {CLIENT}, client_secret_file = '@empty', token_file = '@token'"),
            &[
                "kafka.sasl.client_secret: the client's secret is set twice",
                "kafka.sasl.token_file: tokens come from a file or from an endpoint, and both are set",
            ],
        ),
        (
            format!("token_file = '@token', scope = 's', token_endpoint_ca_file = '@ca.pem', {CLIENT}"),
            &[
                "kafka.sasl.client_id: only a token endpoint uses this",
                "kafka.sasl.client_secret: only a token endpoint uses this",
                "kafka.sasl.scope: only a token endpoint uses this",
                "kafka.sasl.token_endpoint_ca_file: only a token endpoint uses this",
            ],
        ),
        (
            format!("token_endpoint_url = 'http://login.example/token', {CLIENT}"),
            &[
                "kafka.sasl.allow_plaintext: an http:// token endpoint lets the network read the client's secret and the token",
            ],
        ),
        (
            format!("token_endpoint_url = 'http://localhost/', token_endpoint_ca_file = '@ca.pem', {CLIENT}"),
            &["kafka.sasl.token_endpoint_ca_file: http has no certificates"],
        ),
        (
            format!("{URL}, client_id = 'c', client_secret_file = '@empty', token_endpoint_ca_file = '@client.key'"),
            &[
                "kafka.sasl.client_secret_file: @empty: holds no secret",
                "kafka.sasl.token_endpoint_ca_file: @client.key: holds no certificate: a PEM file has -----BEGIN CERTIFICATE----- in it",
            ],
        ),
        (
            format!("token_endpoint_url = 'login.example:443', {CLIENT}"),
            &["kafka.sasl.token_endpoint_url: not a URL with http:// or https://"],
        ),
    ] {
        let sasl = format!("sasl = {{ mechanism = 'OAUTHBEARER', {keys} }}");
        let found = told_of(&format!("security_protocol = 'sasl_ssl'\n{sasl}"));
        assert_eq!(found, wrong, "{keys}");
    }
    let scram = format!("mechanism = 'SCRAM-SHA-512', username = 'u', password = 'canary', {URL}");
    assert_eq!(
        told_of(&format!("security_protocol = 'sasl_ssl'\nsasl = {{ {scram} }}")),
        ["kafka.sasl.token_endpoint_url: only OAUTHBEARER uses this"]
    );
    let url = vec![("kafka.sasl.token_endpoint_url".to_owned(), "https://u:canary@login.example/".to_owned())];
    let told = load(Sources { flags: url, ..Sources::default() }).unwrap_err().to_string();
    assert!(told.contains("a user name or password") && !told.contains("canary"), "{told}");
}

#[test]
fn a_secret_is_used_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let check = |toml: &str, args: &[&str], env: &[(&str, &str)]| {
        std::fs::write(&file, toml).unwrap();
        let output = check(&[&["--config", file.to_str().unwrap()], args].concat(), env);
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!shown.contains("canary"), "{shown}");
        (output.status.code(), shown)
    };
    let sasl = "kafka = { security_protocol = 'sasl_ssl', sasl = { mechanism = 'PLAIN', username = 'u' } }";
    let password = "LOGIN_PIPELINE__KAFKA__SASL__PASSWORD";

    let (code, shown) = check(sasl, &[], &[(password, "canary")]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("[kafka.sasl]\nmechanism = \"PLAIN\"\n"), "{shown}");
    assert!(shown.contains("\n# password = [redacted]\n"), "{shown}");
    let env = vec![(password.to_owned(), "canary".to_owned())];
    let config = load(Sources { file: Some(file.clone()), env, ..Sources::default() }).unwrap();
    assert_eq!(config.kafka.security.protocol, SecurityProtocol::SaslSsl);
    assert_eq!(config.kafka.security.sasl.password().unwrap().expose(), "canary");
    assert!(!format!("{config:?}{}", serde_json::to_string(&config).unwrap()).contains("canary"));

    for (args, env) in [
        (&["--kafka.sasl.password", "canary"][..], &[][..]),
        (&["--kafka.sasl.password=canary"], &[(password, "canary")]),
        (&["--kafka.sasl.passwort=canary"], &[]),
        (&[], &[(password, "canary\n")]),
        (&[], &[("LOGIN_PIPELINE__KAFKA__SASL__PASWORD", "canary")]),
        (&[], &[("LOGIN_PIPELINE_KAFKA_SASL_PASSWORD", "canary")]),
        (&[], &[("LOGIN_PIPELINE__KAFKA__SASL", "canary")]),
    ] {
        let (code, shown) = check(sasl, args, env);
        assert_eq!(code, Some(64), "{args:?} {env:?} {shown}");
        if args.first().is_some_and(|arg| arg.starts_with("--kafka.sasl.password")) {
            assert!(shown.contains("unexpected argument '--kafka.sasl.password' found"), "{shown}");
        }
    }
    let flags = vec![("kafka.sasl.password".to_owned(), "canary".to_owned())];
    let problems = load(Sources { flags, ..Sources::default() }).unwrap_err().to_string();
    assert!(problems.contains("a secret can't be a flag") && !problems.contains("canary"), "{problems}");
    for toml in [
        "[kafka.sasl]\npassword = canary",
        "[kafka.sasl]\npassword = ['canary']",
        "[kafka.sasl]\npassword = 'canary",
        "[kafka.sasl]\npassword = 'canary'\npassword = 'canary'",
        "[sasl]\npassword = 'canary'",
        "[kafka]\nsasl = 'canary'",
        "[kafka.sasl]\npassword = 'canary'\nsecurity_protocol = ",
    ] {
        let (code, shown) = check(toml, &[], &[]);
        assert_eq!(code, Some(64), "{toml} {shown}");
    }
}

#[test]
fn the_example_loads() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/local.toml");
    load(Sources { file: Some(file), ..Sources::default() }).unwrap();
}

proptest! {
    /// No text panics, fills the screen or reaches the terminal raw; what is accepted prints as what loads back.
    #[test]
    fn any_text_is_told_or_survives(key in 0..KEYS.len(), text in "\\PC*|[0-9]{1,20}|[0-9]{1,9} ?[a-zA-Z]{0,3}|[\\[\\]a-c0-9:,.=@-]{1,12}|.*") {
        let flags = vec![(KEYS[key].path.to_owned(), text)];
        match load(Sources { flags, ..Sources::default() }) {
            Ok(config) => assert_round_trip(&config),
            Err(problems) => for line in problems.to_string().lines() {
                prop_assert!(line.chars().count() < 200 && !line.chars().any(char::is_control), "{line}");
            },
        }
    }
}

fn load(sources: Sources) -> Result<Config, Problems> {
    Config::load(sources)
}

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_token_file_that_holds_none_is_a_problem_at_the_start() {
    let token = tempfile::NamedTempFile::new().unwrap();
    let path = token.path().to_str().unwrap();
    let load_it = || load(Sources { flags: texts(&[("admin.token_file", path)]), ..Sources::default() });
    let problems = load_it().unwrap_err().to_string();
    assert!(problems.contains("admin.token_file") && problems.contains("holds no token"), "{problems}");
    std::fs::write(token.path(), "open-sesame\n").unwrap();
    assert_eq!(load_it().unwrap().admin.token().unwrap().unwrap().expose(), "open-sesame");
}
