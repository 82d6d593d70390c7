//! A group to which anything happens, in an order that a seed says. `CHAOS_SEED` repeats one run.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use kafka_sandbox::{Action, Api, Fault};
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::{AssignorKind, ReaderKind};
use rstest::rstest;
use tokio::time::sleep;

use crate::pipeline::group::grouped;
use crate::pipeline::support::{Pipeline, SOURCE, World};

const NODES: usize = 3;
const MOST: usize = 4;

/// A world, its pipelines, and what happens next.
struct Chaos {
    world: World,
    running: BTreeMap<u32, Pipeline>,
    last: u32,
    rng: Rng,
}

impl Chaos {
    async fn new(reader: ReaderKind, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut world = grouped(World::with_nodes(reader, NODES, 4).await);
        let assignors = [AssignorKind::CooperativeSticky, AssignorKind::Range, AssignorKind::RoundRobin];
        world.config.group.assignors = vec![assignors[rng.usize(..assignors.len())]];
        Self { world, running: BTreeMap::new(), last: 0, rng }
    }

    async fn start(&mut self) {
        self.last += 1;
        let pipeline = self.world.start_alone(&self.last.to_string()).await;
        self.running.insert(self.last, pipeline);
    }

    fn any(&mut self) -> Option<Pipeline> {
        let number = *self.rng.choice(self.running.keys().collect::<Vec<_>>())?;
        self.running.remove(&number)
    }

    /// Something happens. What, for whoever wants to know.
    async fn happen(&mut self) -> String {
        let group = self.world.config.group.id.clone();
        match self.rng.u8(..12) {
            0 | 1 if self.running.len() < MOST => {
                self.start().await;
                format!("{} starts", self.last)
            }
            2 if self.running.len() > 1 => match self.any() {
                Some(pipeline) => {
                    pipeline.kill();
                    "one is killed".to_owned()
                }
                None => String::new(),
            },
            3 if self.running.len() > 1 => match self.any() {
                Some(pipeline) => {
                    // A coordinator that is in trouble may let the last offset go unstored.
                    let ended = pipeline.try_stop().await;
                    format!("one stops: {:?}", ended.map(|_| ()))
                }
                None => String::new(),
            },
            4 => {
                let node = self.rng.i32(1..=i32::try_from(NODES).unwrap());
                self.world.sandbox.move_coordinator(&group, node).unwrap();
                format!("the coordinator moves to {node}")
            }
            5 => {
                let total = self.world.sandbox.partitions(SOURCE) + 1;
                if total <= 8 {
                    self.world.sandbox.add_partitions(SOURCE, total).unwrap();
                }
                format!("{total} partitions")
            }
            6 => {
                self.world.sandbox.set_loading(&group, true);
                sleep(Duration::from_millis(self.rng.u64(..400))).await;
                self.world.sandbox.set_loading(&group, false);
                "the coordinator loads".to_owned()
            }
            _ => self.fault(),
        }
    }

    fn fault(&mut self) -> String {
        let apis = [
            Api::JoinGroup,
            Api::SyncGroup,
            Api::Heartbeat,
            Api::OffsetCommit,
            Api::OffsetFetch,
            Api::FindCoordinator,
            Api::LeaveGroup,
            Api::Fetch,
            Api::Produce,
            Api::Metadata,
        ];
        let api = apis[self.rng.usize(..apis.len())];
        let of_groups = [14, 15, 16, 22, 25, 27];
        let code = match api {
            Api::Fetch | Api::Produce | Api::Metadata => 5 + i16::from(self.rng.bool()),
            _ => of_groups[self.rng.usize(..of_groups.len())],
        };
        // A commit that is done after the request's deadline may overtake the one that replaced it, in
        // Kafka too: the stored offset steps back until there is progress again.
        let longest = if api == Api::OffsetCommit { 400 } else { 700 };
        let actions = [
            Action::Error(code),
            Action::Delay(Duration::from_millis(self.rng.u64(..longest))),
            Action::DisconnectBefore,
            Action::DisconnectAfter,
            Action::Silence,
            Action::SilenceAfter,
            Action::TruncatedFrame,
        ];
        let action = actions[self.rng.usize(..actions.len())].clone();
        let told = format!("{api:?}: {action:?}");
        self.world.sandbox.fault(Fault::on(api).times(self.rng.u64(1..4)), action);
        told
    }
}

async fn chaos(reader: ReaderKind, seed: u64) {
    let mut chaos = Chaos::new(reader, seed).await;
    chaos.start().await;
    chaos.start().await;
    let mut told = Vec::new();
    for _ in 0..25 {
        for partition in 0..chaos.world.sandbox.partitions(SOURCE) {
            let count = chaos.rng.usize(..30);
            chaos.world.send(partition, count);
        }
        told.push(chaos.happen().await);
        let pause = chaos.rng.u64(..300);
        sleep(Duration::from_millis(pause)).await;
    }
    eprintln!("seed {seed}, {:?}: {told:#?}", chaos.world.config.group.assignors);
    chaos.world.sandbox.clear_faults();
    chaos.world.fill(10);
    let mut running = chaos.running.into_values();
    let last = running.next().unwrap();
    chaos.world.until_done(&last).await;
    for pipeline in running {
        pipeline.stop().await;
    }
    chaos.world.fill(10);
    chaos.world.finish(last).await;
}

#[rstest]
#[tokio::test]
async fn whatever_happens_nothing_is_lost(#[values(Rskafka, Wire)] reader: ReaderKind) {
    if let Ok(seed) = std::env::var("CHAOS_SEED") {
        return chaos(reader, seed.parse().unwrap()).await;
    }
    for _ in 0..2 {
        chaos(reader, fastrand::u64(..)).await;
    }
}
