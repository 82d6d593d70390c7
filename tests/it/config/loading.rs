//! What loads: files, environment and flags together, and what is printed again.

use std::path::Path;
use std::process::Command;

use login_pipeline::config::schema::{KEYS, Key, Kind};
use login_pipeline::config::{AssignmentMode, Config, OffsetStoreKind, Sources, StartAt};
use proptest::prelude::{prop_assert, proptest};

use super::{assert_round_trip, check, file, load, texts};

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

/// What a key is of use with, for those that are of none by themselves; by what their paths begin with.
const WITH: &[(&str, &[(&str, &str)])] = &[
    ("dead_letter.min_records", &[("dead_letter.max_ratio", "0.5")]),
    ("dead_letter.on_limit", &[("dead_letter.max_ratio", "0.5")]),
    ("dead_letter.window", &[("dead_letter.max_ratio", "0.5")]),
    ("enrich.geoip.", &[("enrich.geoip.file", "/a/b.mmdb")]),
    ("assignment.ordinal", &[("assignment.mode", "ordinal"), ("assignment.replicas", "100000")]),
    ("assignment.partitions", &[("assignment.mode", "static")]),
    ("assignment.replicas", &[("assignment.mode", "ordinal"), ("assignment.replicas", "7")]),
    ("delivery.transaction", &[("delivery.guarantee", "exactly_once")]),
    ("offsets.path", &[("assignment.mode", "static")]),
    ("offsets.store", &[("assignment.mode", "static")]),
    ("offsets.topic", &[("assignment.mode", "static"), ("offsets.store", "topic")]),
    ("topics.partitions", &[("topics.create", "missing")]),
    ("topics.replication", &[("topics.create", "missing")]),
];

/// What a key may be, the least of what is allowed and the most.
fn values(key: &Key) -> Vec<String> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    match key.kind {
        Kind::Text => owned(&["\u{e9}. \"quoted\" \\ "]),
        Kind::Topic => owned(&["a"]),
        Kind::Brokers => owned(&["[::1]:1,b:2"]),
        Kind::Duration(from, to) => [from, to].map(|bound| humantime::format_duration(bound).to_string()).into(),
        Kind::Size(from, to) => [from.0 + 1, to.0 - 1].map(|bytes| bytes.to_string()).into(),
        Kind::Integer(from, to) => [from, to].map(|number| number.to_string()).into(),
        Kind::Words(words) => owned(words),
        Kind::WordList(words) => {
            words.iter().map(|first| format!("{first},{}", words[0])).chain(owned(words)).collect()
        }
        Kind::Ratio => owned(&["0.125"]),
        Kind::Address => owned(&["[::]:0"]),
        Kind::Path => owned(&["./off\u{7f}\" \\ \n\u{1f600}sets"]),
        Kind::Partitions => owned(&["0,2,5-7"]),
        Kind::LogFilter => owned(&["debug,a=off"]),
        Kind::NewField => owned(&["_land"]),
        Kind::Extensions => owned(&["a=b,c=d"]),
        Kind::Url => owned(&["https://login.example/token"]),
        Kind::Boolean => owned(&["true", "false"]),
        Kind::Secret => owned(&["secret"]),
    }
}

#[test]
fn every_key_is_read_and_survives_printing() {
    // One word only; and files that are read at start, which have tests of their own as these sections have.
    let not_here = ["pipeline.processor", "admin.token_file", "privacy.key_file"];
    let tests_of_their_own = ["kafka.tls.", "kafka.sasl.", "admin.tls."];
    let is_here = |key: &&Key| {
        !not_here.contains(&key.path) && !tests_of_their_own.iter().any(|section| key.path.starts_with(section))
    };
    let load = |flags: &[(&str, &str)]| {
        load(Sources { flags: texts(flags), hostname: Some("a-3".to_owned()), ..Sources::default() })
    };
    for key in KEYS.iter().filter(is_here) {
        let with = WITH.iter().find(|(path, _)| key.path.starts_with(path)).map_or(&[][..], |(_, with)| with);
        let without = load(with).unwrap();
        let loaded: Vec<_> = values(key).iter().map(|text| load(&[with, &[(key.path, text)]].concat())).collect();
        // Some of them contradict other keys; that any does something shows that the key has its field.
        let changed: Vec<_> = loaded.iter().flatten().filter(|config| **config != without).collect();
        assert!(!changed.is_empty(), "{} is not read: {loaded:?}", key.path);
        changed.into_iter().for_each(assert_round_trip);
    }
    assert_round_trip(&Config::default());
}

#[test]
fn the_default_is_what_loading_nothing_gives() {
    let config = Config::default();
    assert_eq!(load(Sources::default()), Ok(config.clone()));
    assert_eq!(config.kafka.brokers, ["localhost:9092"]);
    assert_eq!(config.source.start, StartAt::Earliest);
    assert_eq!((config.assignment.mode, config.offsets.store), (AssignmentMode::Group, OffsetStoreKind::Group));
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
        ..Sources::default()
    };
    let config = load(sources).unwrap();
    assert_eq!(config.kafka.client_id, "flag");
    assert_eq!(config.source.topic, "env");
    assert_eq!(config.output.topic, "file-out");
    assert_eq!(config.kafka.brokers, ["a:1", "b:1"]);
    assert_eq!(config.dead_letter.topic, "user-login-dlq");
}

#[test]
fn a_list_in_a_variable_or_flag_may_look_as_in_a_file() {
    let env = texts(&[
        ("LOGIN_PIPELINE__KAFKA__BROKERS", r#" ["a:1", "[::1]:2"]"#),
        ("LOGIN_PIPELINE__ASSIGNMENT__MODE", "static"),
    ]);
    let flags = vec![
        ("assignment.partitions".into(), "[0, 2, \"5-7\"]".into()),
        ("group.assignors".into(), "['range', 'cooperative-sticky']".into()),
        ("assignment.mode".into(), "static".into()),
    ];
    let problems = load(Sources { env: env.clone(), flags: flags.clone(), ..Sources::default() }).unwrap_err();
    assert!(problems.to_string().contains("group.assignors"), "read, though idle in static mode: {problems}");
    let flags = flags.into_iter().filter(|(key, _)| key != "group.assignors").collect();
    let config = load(Sources { env, flags, ..Sources::default() }).unwrap();
    assert_eq!(config.kafka.brokers, ["a:1", "[::1]:2"]);
    assert_eq!(config.assignment.mode, AssignmentMode::Static { partitions: Some([0, 2, 5, 6, 7].into()) });
    let broken = texts(&[("LOGIN_PIPELINE__KAFKA__BROKERS", r#"["a:1", "b"#)]);
    let told = load(Sources { env: broken, ..Sources::default() }).unwrap_err().to_string();
    assert!(told.contains("kafka.brokers") && told.contains("LOGIN_PIPELINE__KAFKA__BROKERS"), "{told}");
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
fn an_empty_environment_variable_is_an_unset_one() {
    let env = |variables: &[(&str, &str)]| load(Sources { env: texts(variables), ..Sources::default() });
    let all: Vec<_> = KEYS.iter().map(|key| (key.env(), String::new())).collect();
    assert_eq!(load(Sources { env: all, ..Sources::default() }), Ok(Config::default()));
    assert_eq!(env(&[("LOGIN_PIPELINE_KAFKA_BROKERS", "")]), Ok(Config::default()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "[kafka]\nclient_id = \"file\"").unwrap();
    let over_file =
        Sources { file: Some(file), env: texts(&[("LOGIN_PIPELINE__KAFKA__CLIENT_ID", "")]), ..Sources::default() };
    assert_eq!(load(over_file).unwrap().kafka.client_id, "file");
    let told = env(&[("LOGIN_PIPELINE__KAFKA__BROKER", "")]).unwrap_err().to_string();
    assert!(told.contains("did you mean: LOGIN_PIPELINE__KAFKA__BROKERS"), "a key that there is none of: {told}");
    assert_eq!(check(&[], &[("LOGIN_PIPELINE_CONFIG", ""), ("LOGIN_PIPELINE__LOG__LEVEL", "")]).status.code(), Some(0));
    assert_eq!(check(&["--config", ""], &[]).status.code(), Some(64), "a flag is given by hand");
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
    assert!(help.contains("--kafka.brokers <") && help.contains("login-pipeline help keys"), "{help}");
    assert!(!help.contains("--kafka.client_id <"), "what few set hides what all do: {help}");
}

#[test]
fn an_argument_that_is_no_utf8_is_refused_as_any_other() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
    let ended = command.args(["run", "--broker", "x"]).arg(std::ffi::OsStr::from_bytes(b"\xff")).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(64) && said.contains("unexpected argument '--broker'"), "{said}");
}

#[test]
fn keys_are_shown_all_or_by_section() {
    let keys = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
        let ended = command.args(["help", "keys"]).args(args).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, all, _) = keys(&[]);
    assert_eq!(code, Some(0));
    for key in KEYS.iter() {
        assert!(all.contains(&format!("{} [default: ", key.path)) && all.contains(&key.env()), "{}", key.path);
    }
    let (_, tls, _) = keys(&["kafka.tls"]);
    assert!(tls.starts_with("kafka.tls.") && !tls.contains("\nkafka.sasl."), "{tls}");
    let (_, one, _) = keys(&["kafka.brokers"]);
    assert!(one.starts_with("kafka.brokers [default: localhost:9092]\n"), "{one}");
    let (code, _, said) = keys(&["kafka.broker"]);
    assert_eq!(
        (code, said.trim_end()),
        (Some(64), "login-pipeline: no key and no section is called kafka.broker: did you mean kafka.brokers?")
    );
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
