//! Settings into a [`Config`], each in its place.

use super::parse::Setting;
use super::problem::{Problem, Problems};
use super::settings::Settings;
use super::{
    Admin, AdminTls, Assignment, AssignmentMode, Config, DeadLetter, DeadLetterLimits, Delivery, Enrich, GeoIp, Group,
    Kafka, Log, OffsetStoreKind, Offsets, Output, Privacy, enrich,
};
use super::{Pipeline, Retry, Sasl, Security, Shutdown, Source, Stats, Tls, TokenEndpoint, Topics, route, schema};

/// The configuration that `settings` make; to be used only if `problems` is empty afterwards.
pub(super) fn config(settings: &Settings, hostname: Option<&str>, problems: &mut Problems) -> Config {
    let s = settings;
    Config {
        kafka: Kafka {
            brokers: s.at("kafka.brokers"),
            client_id: s.at("kafka.client_id"),
            request_timeout: s.at("kafka.request_timeout"),
            connect_timeout: s.at("kafka.connect_timeout"),
            connections_max_idle: s.at("kafka.connections_max_idle"),
            max_frame_bytes: s.at("kafka.max_frame_bytes"),
            unknown_topic_grace: s.at("kafka.unknown_topic_grace"),
            security: security(s),
        },
        source: Source {
            topic: s.at("source.topic"),
            reader: s.at("source.reader"),
            rskafka_max_partitions: s.at("source.rskafka_max_partitions"),
            isolation: s.at("source.isolation"),
            start: s.at("source.start"),
            on_offset_out_of_range: s.at("source.on_offset_out_of_range"),
            max_fetch_bytes: s.at("source.max_fetch_bytes"),
            max_wait: s.at("source.max_wait"),
            lag_interval: s.at("source.lag_interval"),
        },
        output: Output {
            topic: s.at("output.topic"),
            partitioner: s.at("output.partitioner"),
            compression: s.at("output.compression"),
            max_batch_bytes: s.at("output.max_batch_bytes"),
        },
        dead_letter: DeadLetter {
            topic: s.at("dead_letter.topic"),
            header_prefix: s.at("dead_letter.header_prefix"),
            oversize: s.at("dead_letter.oversize"),
            limits: DeadLetterLimits {
                max_ratio: s.at("dead_letter.max_ratio"),
                window: s.at("dead_letter.window"),
                min_records: s.at("dead_letter.min_records"),
                max_consecutive: s.at("dead_letter.max_consecutive"),
                on_limit: s.at("dead_letter.on_limit"),
            },
        },
        enrich: Enrich {
            geoip: GeoIp {
                file: s.at("enrich.geoip.file"),
                field: s.at("enrich.geoip.field"),
                check_interval: s.at("enrich.geoip.check_interval"),
            },
            statics: enrich::statics(s, problems),
        },
        privacy: Privacy {
            ip: s.at("privacy.ip"),
            user_id: s.at("privacy.user_id"),
            device_id: s.at("privacy.device_id"),
            key_file: s.at("privacy.key_file"),
        },
        route: route::rules(s, problems),
        assignment: Assignment {
            mode: assignment_mode(s, hostname, problems),
            discovery_interval: s.at("assignment.discovery_interval"),
        },
        group: Group {
            id: s.at("group.id"),
            instance_id: s.at("group.instance_id"),
            protocol: s.at("group.protocol"),
            assignors: s.at("group.assignors"),
            server_assignor: s.at("group.server_assignor"),
            session_timeout: s.at("group.session_timeout"),
            heartbeat_interval: s.at("group.heartbeat_interval"),
            rebalance_timeout: s.at("group.rebalance_timeout"),
        },
        offsets: Offsets {
            store: s.at::<Option<_>>("offsets.store").unwrap_or_else(|| default_store(s)),
            path: s.at("offsets.path"),
            topic: s.at("offsets.topic"),
            checkpoint_interval: s.at("offsets.checkpoint_interval"),
        },
        delivery: Delivery {
            guarantee: s.at("delivery.guarantee"),
            transactional_id_prefix: s.at("delivery.transactional_id_prefix"),
            transaction_version: s.at("delivery.transaction_version"),
            transaction_interval: s.at("delivery.transaction_interval"),
            transaction_max_bytes: s.at("delivery.transaction_max_bytes"),
            transaction_timeout: s.at("delivery.transaction_timeout"),
        },
        pipeline: Pipeline {
            processor: s.at("pipeline.processor"),
            max_record_bytes: s.at("pipeline.max_record_bytes"),
            max_in_flight_bytes: s.at("pipeline.max_in_flight_bytes"),
            worker_threads: s.at("pipeline.worker_threads"),
        },
        retry: Retry { initial: s.at("retry.initial"), max: s.at("retry.max") },
        stats: Stats { interval: s.at("stats.interval") },
        admin: admin(s),
        log: Log { format: s.at("log.format"), level: s.at("log.level") },
        shutdown: Shutdown { timeout: s.at("shutdown.timeout") },
        topics: Topics {
            create: s.at("topics.create"),
            partitions: s.at("topics.partitions"),
            replication: s.at("topics.replication"),
        },
    }
}

/// The admin port of it, which needs nothing else of the configuration.
pub(super) fn admin(s: &Settings) -> Admin {
    Admin {
        listen: s.at("admin.listen"),
        token_file: s.at("admin.token_file"),
        allow_plaintext: s.at("admin.allow_plaintext"),
        tls: AdminTls {
            cert_file: s.at("admin.tls.cert_file"),
            key_file: s.at("admin.tls.key_file"),
            client_ca_file: s.at("admin.tls.client_ca_file"),
        },
    }
}

fn security(s: &Settings) -> Security {
    Security {
        protocol: s.at("kafka.security_protocol"),
        tls: Tls {
            ca_file: s.at("kafka.tls.ca_file"),
            cert_file: s.at("kafka.tls.cert_file"),
            key_file: s.at("kafka.tls.key_file"),
        },
        sasl: Sasl {
            mechanism: s.at("kafka.sasl.mechanism"),
            username: s.at("kafka.sasl.username"),
            password: s.at("kafka.sasl.password"),
            password_file: s.at("kafka.sasl.password_file"),
            token_file: s.at("kafka.sasl.token_file"),
            token_endpoint: TokenEndpoint {
                url: s.at("kafka.sasl.token_endpoint_url"),
                ca_file: s.at("kafka.sasl.token_endpoint_ca_file"),
                client_id: s.at("kafka.sasl.client_id"),
                client_secret: s.at("kafka.sasl.client_secret"),
                client_secret_file: s.at("kafka.sasl.client_secret_file"),
                scope: s.at("kafka.sasl.scope"),
                audience: s.at("kafka.sasl.audience"),
            },
            extensions: s.at("kafka.sasl.extensions"),
            allow_plaintext: s.at("kafka.sasl.allow_plaintext"),
        },
    }
}

/// Members of a group come and go on other machines: their offsets lie where all can see them.
fn default_store(settings: &Settings) -> OffsetStoreKind {
    match settings.setting(MODE) {
        Some(Setting::Word("static" | "ordinal")) => OffsetStoreKind::File,
        _ => OffsetStoreKind::Group,
    }
}

const MODE: &str = "assignment.mode";
const PARTITIONS: &str = "assignment.partitions";
const ORDINAL: &str = "assignment.ordinal";
const REPLICAS: &str = "assignment.replicas";

/// Each mode has keys of its own; one of the other mode is a contradiction, not a spare.
fn assignment_mode(settings: &Settings, hostname: Option<&str>, problems: &mut Problems) -> AssignmentMode {
    let mut foreign = |key: &'static str, wrong: &str, allowed: &str| {
        let mut problem = Problem::new(key, wrong).allowed(allowed);
        problem.found.extend([key, MODE].into_iter().filter_map(|key| settings.found(key)));
        problems.push(problem);
    };
    let has_list = settings.is_given(PARTITIONS)
        && settings.is_sound(PARTITIONS)
        && settings.setting(PARTITIONS) != Some(&Setting::AllPartitions);
    match settings.setting(MODE) {
        Some(Setting::Word("ordinal")) => {
            if has_list {
                foreign(PARTITIONS, "a list of partitions in ordinal mode", "nothing, or assignment.mode = static");
            }
            ordinal_mode(settings, hostname, problems)
        }
        Some(Setting::Word("group")) => {
            if has_list {
                foreign(PARTITIONS, "a list of partitions in group mode", "nothing, or assignment.mode = static");
            }
            for key in [ORDINAL, REPLICAS].into_iter().filter(|key| settings.is_given(key)) {
                foreign(key, "only ordinal mode has this", "nothing, or assignment.mode = ordinal");
            }
            AssignmentMode::Group
        }
        Some(_) => {
            for key in [ORDINAL, REPLICAS].into_iter().filter(|key| settings.is_given(key)) {
                foreign(key, "only ordinal mode has this", "nothing, or assignment.mode = ordinal");
            }
            AssignmentMode::Static { partitions: settings.at(PARTITIONS) }
        }
        None => AssignmentMode::Group,
    }
}

fn ordinal_mode(settings: &Settings, hostname: Option<&str>, problems: &mut Problems) -> AssignmentMode {
    let replicas: Option<u32> = settings.at(REPLICAS);
    if replicas.is_none() && settings.is_sound(REPLICAS) {
        problems.push(missing(settings, REPLICAS, "ordinal mode needs the number of instances"));
    }
    let from_host = || hostname.and_then(trailing_number);
    let ordinal = if settings.is_given(ORDINAL) { settings.at(ORDINAL) } else { from_host() };
    if ordinal.is_none() && settings.is_sound(ORDINAL) {
        let why = match hostname {
            Some(name) => format!("host name {name:?} does not end in one"),
            None => "there is no host name to take it from".to_owned(),
        };
        let wrong = format!("ordinal mode needs this instance's number, and {why}");
        problems.push(missing(settings, ORDINAL, &wrong));
    }
    if let (Some(ordinal), Some(replicas)) = (ordinal, replicas)
        && ordinal >= replicas
    {
        let mut problem = Problem::new(ORDINAL, format!("instance {ordinal} of {replicas} does not exist"))
            .allowed(format!("0 to {}, or more assignment.replicas", replicas - 1));
        problem.found.extend([ORDINAL, REPLICAS].into_iter().filter_map(|key| settings.found(key)));
        if !settings.is_given(ORDINAL) {
            problem = problem.found(format!("{:?}", hostname.unwrap_or_default()), "host name");
        }
        problems.push(problem);
    }
    AssignmentMode::Ordinal { ordinal: ordinal.unwrap_or_default(), replicas: replicas.unwrap_or_default() }
}

/// A key that the mode needs and nobody set.
fn missing(settings: &Settings, path: &'static str, wrong: &str) -> Problem {
    let mut problem = Problem::new(path, wrong);
    problem.found.extend(settings.found(MODE));
    problem.allowed = schema::key(path).map(|key| key.kind.to_string());
    problem
}

/// The ordinal of a StatefulSet's pod: 3 of `login-pipeline-3` and of `login-pipeline-3.svc.local`.
/// The random end of a Deployment's pod (`-x2k49`) is none.
fn trailing_number(hostname: &str) -> Option<u32> {
    let (label, _) = hostname.trim().split_once('.').unwrap_or((hostname.trim(), ""));
    let (_, number) = label.rsplit_once('-')?;
    number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_ordinal_ends_its_host_name() {
        for (hostname, ordinal) in [
            ("login-pipeline-3", Some(3)),
            ("login-pipeline-12.login.svc.cluster.local\n", Some(12)),
            ("login-pipeline", None),
            ("login-pipeline-", None),
            ("login-pipeline-x2k49", None),
            ("login-pipeline-99999999999", None),
            ("web3", None),
            ("", None),
        ] {
            assert_eq!(trailing_number(hostname), ordinal, "{hostname}");
        }
    }
}
