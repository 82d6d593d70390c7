//! Which partitions of the source topic this instance reads.

use crate::config::AssignmentMode;

/// The partitions, of those that `there` are, that this instance reads.
pub fn assigned(mode: &AssignmentMode, there: &[i32]) -> Vec<i32> {
    there.iter().copied().filter(|partition| reads(mode, *partition)).collect()
}

/// The partitions that the configuration names and the topic does not have.
pub fn missing(mode: &AssignmentMode, there: &[i32]) -> Vec<i32> {
    match mode {
        AssignmentMode::Static { partitions: Some(partitions) } => {
            partitions.iter().copied().filter(|partition| !there.contains(partition)).collect()
        }
        _ => Vec::new(),
    }
}

fn reads(mode: &AssignmentMode, partition: i32) -> bool {
    match mode {
        AssignmentMode::Static { partitions: None } => true,
        AssignmentMode::Static { partitions: Some(partitions) } => partitions.contains(&partition),
        AssignmentMode::Ordinal { ordinal, replicas } => {
            u32::try_from(partition).is_ok_and(|partition| partition % (*replicas).max(1) == *ordinal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_those_named() {
        assert_eq!(assigned(&AssignmentMode::Static { partitions: None }, &[0, 1, 2]), [0, 1, 2]);
        let some = AssignmentMode::Static { partitions: Some(vec![1, 7]) };
        assert_eq!(assigned(&some, &[0, 1, 2]), [1]);
        assert_eq!(missing(&some, &[0, 1, 2]), [7]);
    }

    #[test]
    fn every_partition_has_one_ordinal() {
        let there: Vec<i32> = (0..13).collect();
        let mut all: Vec<i32> =
            (0..4).flat_map(|ordinal| assigned(&AssignmentMode::Ordinal { ordinal, replicas: 4 }, &there)).collect();
        all.sort_unstable();
        assert_eq!(all, there);
    }
}
