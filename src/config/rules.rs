//! Values that are each allowed and contradict each other.

use super::problem::{Problem, Problems};
use super::values::Values;
use super::{AssignmentMode, ByteSize, Config, Guarantee, Isolation, OffsetStoreKind, ReaderKind};

/// What must hold between keys.
struct Rule {
    /// The keys it is about, the one to name first.
    keys: &'static [&'static str],
    broken: fn(&Config) -> bool,
    wrong: &'static str,
    allowed: &'static str,
}

static RULES: &[Rule] = &[
    Rule {
        keys: &["output.topic", "source.topic"],
        broken: |c| c.output.topic == c.source.topic,
        wrong: "good records would go back to the source topic and be read again for ever",
        allowed: "a topic other than source.topic",
    },
    Rule {
        keys: &["dead_letter.topic", "source.topic"],
        broken: |c| c.dead_letter.topic == c.source.topic,
        wrong: "dead letters would go back to the source topic and be read again for ever",
        allowed: "a topic other than source.topic",
    },
    Rule {
        keys: &["dead_letter.topic", "output.topic"],
        broken: |c| c.dead_letter.topic == c.output.topic,
        wrong: "dead letters would lie among the good records",
        allowed: "a topic other than output.topic",
    },
    Rule {
        keys: &["source.isolation", "source.reader"],
        broken: |c| c.source.isolation == Isolation::ReadCommitted && c.source.reader == ReaderKind::Rskafka,
        wrong: "rskafka would deliver the records of aborted transactions",
        allowed: "read_committed with source.reader = \"auto\" or \"wire\"; read_uncommitted with any reader",
    },
    Rule {
        keys: &["source.max_wait", "kafka.request_timeout"],
        broken: |c| c.source.max_wait >= c.kafka.request_timeout,
        wrong: "a fetch that waits for records would pass its own deadline",
        allowed: "less than kafka.request_timeout",
    },
    Rule {
        keys: &["source.max_fetch_bytes", "pipeline.max_in_flight_bytes"],
        broken: |c| c.source.max_fetch_bytes > c.pipeline.max_in_flight_bytes,
        wrong: "a full fetch would not fit into what may be in flight",
        allowed: "at most pipeline.max_in_flight_bytes",
    },
    Rule {
        keys: &["offsets.store", "assignment.mode"],
        broken: |c| c.assignment.mode == AssignmentMode::Group && c.offsets.store == OffsetStoreKind::File,
        wrong: "a partition that moves to another instance would not find its offset there",
        allowed: "group, or assignment.mode = static or ordinal",
    },
    Rule {
        keys: &["offsets.store", "assignment.mode"],
        broken: |c| c.assignment.mode == AssignmentMode::Group && c.offsets.store == OffsetStoreKind::Topic,
        wrong: "the group's coordinator and the owners in the offsets topic would each say who has a partition",
        allowed: "group, or assignment.mode = static or ordinal",
    },
    Rule {
        keys: &["offsets.topic", "offsets.store", "source.topic"],
        broken: |c| keeps_offsets_in(c, &c.source.topic),
        wrong: "offsets would be read as source records",
        allowed: "a topic of its own",
    },
    Rule {
        keys: &["offsets.topic", "offsets.store", "output.topic"],
        broken: |c| keeps_offsets_in(c, &c.output.topic),
        wrong: "offsets would lie among the good records",
        allowed: "a topic of its own",
    },
    Rule {
        keys: &["offsets.topic", "offsets.store", "dead_letter.topic"],
        broken: |c| keeps_offsets_in(c, &c.dead_letter.topic),
        wrong: "offsets would lie among the dead letters",
        allowed: "a topic of its own",
    },
    Rule {
        keys: &["delivery.guarantee", "offsets.store"],
        broken: |c| c.delivery.guarantee == Guarantee::ExactlyOnce && c.offsets.store != OffsetStoreKind::Group,
        wrong: "a transaction holds outputs and offsets together, and offsets only where a group keeps them",
        allowed: "at_least_once, or offsets.store = group",
    },
    Rule {
        keys: &["delivery.transaction_interval", "delivery.transaction_timeout"],
        broken: |c| c.delivery.transaction_interval >= c.delivery.transaction_timeout,
        wrong: "brokers would throw away each transaction before it is committed",
        allowed: "less than delivery.transaction_timeout",
    },
    Rule {
        keys: &["group.heartbeat_interval", "group.session_timeout"],
        broken: |c| c.group.heartbeat_interval >= c.group.session_timeout,
        wrong: "the member would be expelled between two heartbeats",
        allowed: "less than group.session_timeout, a third of it at most by custom",
    },
    Rule {
        keys: &["topics.replication"],
        broken: |c| c.topics.replication == 0,
        wrong: "a topic without a replica holds nothing",
        allowed: "1 or more, or -1 for the brokers' default.replication.factor",
    },
    Rule {
        keys: &["retry.initial", "retry.max"],
        broken: |c| c.retry.initial > c.retry.max,
        wrong: "the first pause would be longer than the longest",
        allowed: "at most retry.max",
    },
];

/// What stands around the records of one partition, but for aborted transactions.
const AROUND_RECORDS: ByteSize = ByteSize::kib(1);

const MAX_FETCH: &str = "source.max_fetch_bytes";
const MAX_FRAME: &str = "kafka.max_frame_bytes";

/// Notes every rule that `config` breaks, of those whose keys are sound.
pub(super) fn check(config: &Config, values: &Values, problems: &mut Problems) {
    for rule in RULES {
        if rule.keys.iter().all(|key| values.is_sound(key)) && (rule.broken)(config) {
            let [path, ..] = rule.keys else { continue };
            let mut problem = Problem::new(*path, rule.wrong).allowed(rule.allowed);
            problem.found.extend(rule.keys.iter().filter_map(|key| values.found(key)));
            problems.push(problem);
        }
    }
    fetch_fits(config, values, problems);
}

/// A full fetch has to fit into the largest answer taken, with all that stands around its records: the topic's
/// name (249 bytes at most) and offsets, and 16 bytes for each aborted transaction, which is at least nine times
/// as long in the log with its marker. An answer that doesn't fit is asked for again and again, and nothing is read.
fn most_fetched(frame: ByteSize) -> ByteSize {
    ByteSize(frame.0.saturating_sub(AROUND_RECORDS.0) / 9 * 8)
}

fn fetch_fits(config: &Config, values: &Values, problems: &mut Problems) {
    let (fetch, frame) = (config.source.max_fetch_bytes, config.kafka.max_frame_bytes);
    let keys = [MAX_FETCH, MAX_FRAME];
    if keys.iter().any(|key| !values.is_sound(key)) || fetch <= most_fetched(frame) {
        return;
    }
    let wrong = "a full fetch would not fit into the largest answer taken, with the offsets and aborted transactions \
                 around its records";
    let mut problem = Problem::new(MAX_FETCH, wrong).allowed(format!(
        "at most {} of these kafka.max_frame_bytes (8/9 of all but 1KiB), or more of them",
        most_fetched(frame)
    ));
    problem.found.extend(keys.iter().filter_map(|key| values.found(key)));
    problems.push(problem);
}

fn keeps_offsets_in(config: &Config, topic: &str) -> bool {
    config.offsets.store == OffsetStoreKind::Topic && config.offsets.topic == topic
}
