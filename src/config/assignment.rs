//! `assignment.*`: which partitions this instance reads.

use super::keyword::{Keyword, Mode, OffsetStoreKind};
use super::parse::Setting;
use super::problem::{Problem, Problems};
use super::table::{Key, Section, WriteResult, Written, keyword, partitions, whole};
use super::values::Values;

/// The way that partitions are shared between instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssignmentMode {
    /// This instance reads these partitions; all of them, new ones included, where `None`.
    Static {
        /// The partitions, sorted, each once.
        partitions: Option<Vec<i32>>,
    },
    /// Instance `ordinal` of `replicas` reads the partitions p with p mod replicas = ordinal.
    Ordinal {
        /// This instance's number, counted from 0.
        ordinal: u32,
        /// How many instances there are.
        replicas: u32,
    },
    /// A consumer group's coordinator shares the partitions between the instances there are.
    Group,
}

crate::section! {
    /// The keys that an [`AssignmentMode`] is made of.
    struct ModeKeys: "assignment." {
        /// How instances share partitions: as a consumer group; by list; or instance i of n takes each p with p mod n = i
        mode: Mode = keyword().by_default("group");
        /// Static mode: the partitions that this instance reads
        partitions: Option<Vec<i32>> = partitions().by_default("all");
        /// Ordinal mode: this instance's number, counted from 0
        ordinal: Option<u32> = whole(0..=99_999).unset("the number that ends the host name");
        /// Ordinal mode: how many instances there are
        replicas: Option<u32> = whole(1..=100_000).unset("required in ordinal mode");
    }
}

impl Section for AssignmentMode {
    fn keys(keys: &mut Vec<Key>) {
        ModeKeys::keys(keys);
    }

    fn read(values: &Values, problems: &mut Problems) -> Self {
        let keys = ModeKeys::read(values, problems);
        assignment_mode(keys, values, problems)
    }

    /// Writes the keys of this mode only.
    fn write(&self, written: &mut Written) -> WriteResult {
        let mode = match self {
            Self::Static { partitions } => {
                written.insert(PARTITIONS, serde_json::to_value(partitions)?);
                Mode::Static
            }
            Self::Ordinal { ordinal, replicas } => {
                written.extend([(ORDINAL, (*ordinal).into()), (REPLICAS, (*replicas).into())]);
                Mode::Ordinal
            }
            Self::Group => Mode::Group,
        };
        written.insert(MODE, mode.word().into());
        Ok(())
    }
}

/// Members of a group come and go on other machines: their offsets lie where all can see them.
pub(super) fn default_store(values: &Values) -> OffsetStoreKind {
    match values.setting(MODE) {
        Some(Setting::Word("static" | "ordinal")) => OffsetStoreKind::File,
        _ => OffsetStoreKind::Group,
    }
}

const MODE: &str = "assignment.mode";
const PARTITIONS: &str = "assignment.partitions";
const ORDINAL: &str = "assignment.ordinal";
const REPLICAS: &str = "assignment.replicas";

/// Each mode has keys of its own; one of the other mode is a contradiction, not a spare.
fn assignment_mode(keys: ModeKeys, values: &Values, problems: &mut Problems) -> AssignmentMode {
    if !values.is_sound(MODE) {
        return AssignmentMode::Group; // which keys are of use is not known
    }
    let mut foreign = |key: &'static str, wrong: &str, allowed: &str| {
        let mut problem = Problem::new(key, wrong).allowed(allowed);
        problem.found.extend([key, MODE].into_iter().filter_map(|key| values.found(key)));
        problems.push(problem);
    };
    if keys.mode != Mode::Static && keys.partitions.is_some() {
        let wrong = format!("a list of partitions in {} mode", keys.mode.word());
        foreign(PARTITIONS, &wrong, "nothing, or assignment.mode = static");
    }
    if keys.mode != Mode::Ordinal {
        for key in [ORDINAL, REPLICAS].into_iter().filter(|key| values.is_given(key)) {
            foreign(key, "only ordinal mode has this", "nothing, or assignment.mode = ordinal");
        }
    }
    match keys.mode {
        Mode::Static => AssignmentMode::Static { partitions: keys.partitions },
        Mode::Ordinal => ordinal_mode(&keys, values, problems),
        Mode::Group => AssignmentMode::Group,
    }
}

fn ordinal_mode(keys: &ModeKeys, values: &Values, problems: &mut Problems) -> AssignmentMode {
    let (replicas, hostname) = (keys.replicas, values.hostname.as_deref());
    if replicas.is_none() && values.is_sound(REPLICAS) {
        problems.push(missing(values, REPLICAS, "ordinal mode needs the number of instances"));
    }
    let from_host = || hostname.and_then(trailing_number);
    let ordinal = if values.is_given(ORDINAL) { keys.ordinal } else { from_host() };
    if ordinal.is_none() && values.is_sound(ORDINAL) {
        let why = match hostname {
            Some(name) => format!("host name {name:?} does not end in one"),
            None => "there is no host name to take it from".to_owned(),
        };
        let wrong = format!("ordinal mode needs this instance's number, and {why}");
        problems.push(missing(values, ORDINAL, &wrong));
    }
    if let (Some(ordinal), Some(replicas)) = (ordinal, replicas)
        && ordinal >= replicas
    {
        let mut problem = Problem::new(ORDINAL, format!("instance {ordinal} of {replicas} does not exist"))
            .allowed(format!("0 to {}, or more assignment.replicas", replicas - 1));
        problem.found.extend([ORDINAL, REPLICAS].into_iter().filter_map(|key| values.found(key)));
        if !values.is_given(ORDINAL) {
            problem = problem.found(format!("{:?}", hostname.unwrap_or_default()), "host name");
        }
        problems.push(problem);
    }
    AssignmentMode::Ordinal { ordinal: ordinal.unwrap_or_default(), replicas: replicas.unwrap_or_default() }
}

/// A key that the mode needs and nobody set.
fn missing(values: &Values, path: &'static str, wrong: &str) -> Problem {
    let mut problem = Problem::new(path, wrong);
    problem.found.extend(values.found(MODE));
    problem.allowed = values.key(path).map(|key| key.kind.to_string());
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
