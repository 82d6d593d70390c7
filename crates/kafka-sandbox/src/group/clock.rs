//! The task that lets time pass in groups to which nobody speaks.

use std::sync::{Arc, Weak};

use tokio::time::Instant;

use crate::cluster::{Cluster, Shared};
use crate::due::due_or_changed;

/// Runs until the sandbox is gone.
pub(crate) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let (due, changed) = {
            let mut cluster = shared.lock();
            pass(&mut cluster, Instant::now());
            (next(&cluster), Arc::clone(&cluster.groups.changed))
        };
        drop(shared);
        due_or_changed(due, &changed).await;
    }
}

/// Sessions end only where somebody counts: not on a node that is down or has not read the group.
fn awake(cluster: &Cluster) -> Vec<String> {
    let groups = cluster.groups.ids().into_iter();
    groups.filter(|group| cluster.is_coordinated(group, cluster.groups.placement(group))).collect()
}

fn pass(cluster: &mut Cluster, now: Instant) {
    for group in awake(cluster) {
        let due = cluster.groups.find(&group).and_then(super::Entry::deadline);
        if due.is_some_and(|due| due <= now) {
            cluster.groups.with(&group, |_, _| ());
        }
    }
}

fn next(cluster: &Cluster) -> Option<Instant> {
    let deadline = |group: &String| cluster.groups.find(group)?.deadline();
    awake(cluster).iter().filter_map(deadline).min()
}
