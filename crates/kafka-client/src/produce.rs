//! Writing batches, acknowledged by all in-sync replicas, tried once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::outbox::{Outgoing, Produced, Sent, WithinTransaction, failed, send};
use super::{Cluster, permit};
use crate::{Cause, Error, Permit};

impl Cluster {
    /// Writes an encoded batch and waits for `acks=all`.
    ///
    /// # Errors
    /// Whatever kept the leader from answering, and every error code it gives. Of class ambiguous
    /// where the batch may have been written all the same.
    pub async fn produce(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
        timeout: Duration,
    ) -> Result<Produced, Error> {
        self.produce_under(&permit::unlimited(), None, &topic.into(), partition, batch, timeout).await
    }

    /// The same, as part of a transaction where there is one. Nothing is sent once `permit` does not
    /// hold any more.
    ///
    /// # Errors
    /// As [`Cluster::produce`], and [`Cause::NotHeld`].
    pub async fn produce_under(
        &self,
        permit: &Arc<dyn Permit>,
        within: Option<&WithinTransaction>,
        topic: &Arc<str>,
        partition: i32,
        batch: Bytes,
        timeout: Duration,
    ) -> Result<Produced, Error> {
        let (connection, outbox) = self.leader_outbox(topic, partition).await?;
        let (done, mut outcome) = oneshot::channel();
        let (permit, within) = (Arc::clone(permit), within.cloned());
        let topic_name = Arc::clone(topic);
        let number = outbox.push(Outgoing { number: 0, topic: topic_name, partition, batch, permit, within, done });
        let sent = loop {
            let turn = tokio::select! {
                biased;
                sent = &mut outcome => break sent,
                turn = outbox.turn(&connection) => turn,
            };
            match send(&connection, &outbox, timeout).await {
                // Its own may have had to stay behind: then this goes on until it is sent.
                Sent::Some => {}
                Sent::None => {
                    drop(turn);
                    break outcome.await; // it is on its way with others
                }
                Sent::Failed(error) => {
                    drop(turn);
                    // Another may have taken it meanwhile, by another connection.
                    if outbox.withdraw(number) {
                        break Ok(Err(error));
                    }
                    break outcome.await;
                }
            }
        };
        self.heard(topic, partition, sent).await
    }

    async fn heard(
        &self,
        topic: &Arc<str>,
        partition: i32,
        sent: Result<Result<Produced, Error>, oneshot::error::RecvError>,
    ) -> Result<Produced, Error> {
        // Whoever sent it was stopped: perhaps before, perhaps after.
        let result = sent.unwrap_or_else(|_| {
            let cause = Cause::Disconnected("the request was given up with the task that sent it".to_owned());
            Err(failed(topic, partition, cause))
        });
        if result.as_ref().is_err_and(Error::doubts_leader) {
            self.forget_leader(topic, partition);
        }
        result
    }
}
