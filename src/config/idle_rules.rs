//! Keys that somebody set and that would do nothing: what they were set for doesn't happen, and nobody is told.
//!
//! A key that is set to its default is none of these, so that what `check` prints loads again. Two keys are left
//! out, since whole fleets are given them whatever each instance does: `group.id`, and `offsets.path`, but where nothing
//! says how partitions are shared, or where offsets are.

use super::key::Default;
use super::parse::parse;
use super::problem::{Problem, Problems};
use super::values::Values;
use super::{AssignmentMode, Config, CreateTopics, GroupProtocol, Guarantee, OffsetStoreKind, ReaderKind};

/// Keys without effect under what another key says.
struct Idle {
    keys: &'static [&'static str],
    /// The key whose value makes them so.
    because: &'static str,
    holds: fn(&Config) -> bool,
    wrong: &'static str,
    allowed: &'static str,
}

static IDLE: &[Idle] = &[
    Idle {
        keys: &["offsets.topic"],
        because: "offsets.store",
        holds: |c| c.offsets.store != OffsetStoreKind::Topic,
        wrong: "only the topic store uses this",
        allowed: "nothing, or offsets.store = topic",
    },
    Idle {
        keys: &["source.rskafka_max_partitions"],
        because: "source.reader",
        holds: |c| c.source.reader == ReaderKind::Wire,
        wrong: "rskafka reads no partition",
        allowed: "nothing, or source.reader = auto or rskafka",
    },
    Idle {
        keys: &[
            "delivery.transactional_id_prefix",
            "delivery.transaction_version",
            "delivery.transaction_interval",
            "delivery.transaction_max_bytes",
            "delivery.transaction_timeout",
        ],
        because: "delivery.guarantee",
        holds: |c| c.delivery.guarantee != Guarantee::ExactlyOnce,
        wrong: "only exactly once has transactions",
        allowed: "nothing, or delivery.guarantee = exactly_once",
    },
    Idle {
        keys: &[
            "group.instance_id",
            "group.protocol",
            "group.assignors",
            "group.server_assignor",
            "group.session_timeout",
            "group.heartbeat_interval",
            "group.rebalance_timeout",
        ],
        because: "assignment.mode",
        holds: |c| c.assignment.mode != AssignmentMode::Group,
        wrong: "only group mode has members",
        allowed: "nothing, or assignment.mode = group",
    },
    Idle {
        keys: &["group.assignors"],
        because: "group.protocol",
        holds: |c| c.assignment.mode == AssignmentMode::Group && c.group.protocol == GroupProtocol::Consumer,
        wrong: "only the classic protocol uses this",
        allowed: "nothing, or group.protocol = auto or classic",
    },
    Idle {
        keys: &["group.server_assignor"],
        because: "group.protocol",
        holds: |c| c.assignment.mode == AssignmentMode::Group && c.group.protocol == GroupProtocol::Classic,
        wrong: "a classic group's members assign, not the broker",
        allowed: "nothing, or group.protocol = auto or consumer",
    },
    Idle {
        keys: &["dead_letter.window", "dead_letter.min_records"],
        because: "dead_letter.max_ratio",
        holds: |c| c.dead_letter.limits.max_ratio.is_none(),
        wrong: "only dead_letter.max_ratio uses this, and it is not set",
        allowed: "nothing, or a dead_letter.max_ratio with it",
    },
    Idle {
        keys: &["dead_letter.on_limit"],
        because: "dead_letter.max_ratio",
        holds: |c| !c.dead_letter.limits.are_set(),
        wrong: "there is no limit to pass",
        allowed: "nothing, or a dead_letter.max_ratio or dead_letter.max_consecutive with it",
    },
    Idle {
        keys: &["enrich.geoip.field", "enrich.geoip.check_interval"],
        because: "enrich.geoip.file",
        holds: |c| c.enrich.geoip.file.is_none(),
        wrong: "there is no database to take the country from",
        allowed: "nothing, or an enrich.geoip.file with it",
    },
    Idle {
        keys: &["topics.partitions", "topics.replication"],
        because: "topics.create",
        holds: |c| c.topics.create == CreateTopics::Never,
        wrong: "no topic is created",
        allowed: "nothing, or topics.create = missing",
    },
];

/// Notes every key that would do nothing, where that and the key it depends on are sound.
pub(super) fn check(config: &Config, values: &Values, problems: &mut Problems) {
    let says_nothing = ["assignment.mode", "offsets.store"].iter().all(|key| !values.is_given(key));
    if says_nothing && values.is_given("offsets.path") && values.is_sound("offsets.path") {
        let wrong =
            "offsets in files are not the default: they are the group's, in which instances share the partitions";
        let mut problem = Problem::new("offsets.path", wrong);
        problem = problem.allowed("nothing, or assignment.mode = static with it");
        problem.found.extend(values.found("offsets.path"));
        problems.push(problem);
    }
    for idle in IDLE.iter().filter(|idle| values.is_sound(idle.because) && (idle.holds)(config)) {
        for key in idle.keys.iter().filter(|key| values.is_sound(key) && differs_from_default(values, key)) {
            let mut problem = Problem::new(*key, idle.wrong).allowed(idle.allowed);
            problem.found.extend([*key, idle.because].into_iter().filter_map(|key| values.found(key)));
            problems.push(problem);
        }
    }
}

fn differs_from_default(values: &Values, path: &'static str) -> bool {
    let Some(key) = values.key(path).filter(|key| values.is_given(key.path)) else { return false };
    match key.default {
        Default::Unset(_) => true,
        Default::Text(text) => parse(key.kind, &text.into()).ok().as_ref() != values.setting(path),
    }
}
