//! The task that lets time pass in groups to which nobody speaks.

use std::sync::{Arc, Weak};

use tokio::time::{Instant, sleep_until};

use crate::cluster::{Cluster, Shared};

/// Runs until the sandbox is gone.
pub async fn run(shared: Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let (due, changed) = {
            let mut cluster = shared.lock();
            pass(&mut cluster, Instant::now());
            (next(&cluster), Arc::clone(&cluster.groups.changed))
        };
        drop(shared);
        tokio::select! {
            () = changed.notified() => {}
            () = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}

/// Sessions end only where somebody counts: not on a node that is down or has not read the group.
fn awake(cluster: &Cluster) -> Vec<String> {
    let groups = cluster.groups.ids().into_iter();
    groups
        .filter(|group| {
            let loading = cluster.groups.find(group).is_some_and(|entry| entry.loading);
            !loading && cluster.coordinator(group).is_ok()
        })
        .collect()
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
