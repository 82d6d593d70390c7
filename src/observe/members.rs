//! The members of the group, as the coordinator tells them while somebody looks at the page.
//!
//! ```text
//! page ──► want ──► (whoever can ask the coordinator) ──► tell ──► page
//! ```
//! Nobody looking, nobody asks.

use std::sync::{Arc, Mutex};

use kafka_client::Member;
use tokio::sync::Notify;

use super::lock::lock;

/// The most members that are kept.
const MOST: usize = 100;

/// All members. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Members {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    members: Mutex<Vec<Member>>,
    wanted: Notify,
}

impl Members {
    /// The members as they were reported last; somebody looks at them, so that they are asked for again.
    pub(super) fn want(&self) -> Vec<Member> {
        self.inner.wanted.notify_one();
        lock(&self.inner.members).clone()
    }

    /// Returns when somebody wants to know them.
    pub async fn wanted(&self) {
        self.inner.wanted.notified().await;
    }

    /// These are the members now.
    pub fn tell(&self, mut members: Vec<Member>) {
        members.truncate(MOST);
        members.sort_by(|a, b| (&a.client_id, &a.member_id).cmp(&(&b.client_id, &b.member_id)));
        *lock(&self.inner.members) = members;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn they_are_asked_for_while_somebody_looks() {
        let members = Members::default();
        assert!(members.wanted().now_or_never().is_none(), "nobody looks");
        assert!(members.want().is_empty());
        members.wanted().await;
        assert!(members.wanted().now_or_never().is_none(), "asked once");
        let member = |id: usize| Member {
            member_id: id.to_string(),
            client_id: "login-pipeline".into(),
            host: "10.0.0.7".into(),
            partitions: None,
        };
        members.tell((0..500).rev().map(member).collect());
        assert_eq!(members.want().len(), MOST);
    }
}
