//! What each fault does to the world.

use std::sync::Arc;
use std::time::Duration;

use kafka_records::compression::Compression;
use kafka_sandbox::{Action, Api, Damage, Fault as Armed};

use crate::ledger::{DEAD, OUTPUT, SOURCE};
use crate::scenario::{Answer, Fault, Harm, Kind, Mishap, Sending, Trouble};
use crate::world::{World, group};

/// More than a client takes.
const OVERSIZE: usize = 200 << 20;

impl Fault {
    /// Does it, and plans its end where it has one.
    pub(crate) fn strike(self, world: &mut World) {
        match self {
            Self::Requests { api, node, times, answer } => {
                let armed = Armed::on(api).times(times);
                let armed = node.into_iter().fold(armed, Armed::node);
                world.with_brokers(|sandbox| drop(sandbox.fault(armed, answer.into())));
            }
            Self::Former { node, lasts } => strike_coordinator(world, node, lasts),
            Self::Stale { api, lasts } => {
                let handle = world.with_brokers(|sandbox| {
                    let action = Action::Stale(sandbox.snapshot());
                    sandbox.fault(Armed::on(api).forever(), action)
                });
                world.later(lasts, move |_| handle.remove());
            }
            Self::Way { from, to, trouble } => strike_way(world, from, to, trouble),
            Self::Instance { instance, trouble } => strike_instance(world, instance, trouble),
            Self::Crash { node, lasts } => {
                let sandbox = Arc::clone(&world.sandbox);
                let crashed = world.brokers_run(sandbox.crash(node));
                note(world, crashed);
                world.later(lasts, move |world| {
                    let restarted = world.brokers_run(sandbox.restart(node));
                    note(world, restarted);
                });
            }
            Self::Lead { topic, partition, node } => {
                let topic = [SOURCE, OUTPUT, DEAD][topic % 3];
                let moved = world.with_brokers(|sandbox| {
                    sandbox.move_leader(topic, partition % sandbox.partitions(topic).max(1), node)
                });
                note(world, moved);
            }
            Self::Unclean { partition, node, lacks } => {
                let partition = world.source_partition(partition);
                let elected = world.with_brokers(|sandbox| {
                    let (begin, end) =
                        (sandbox.log_start_offset(SOURCE, partition)?, sandbox.end_offset(SOURCE, partition)?);
                    sandbox.elect_uncleanly(SOURCE, partition, node, (end - lacks).max(begin))?;
                    Ok((sandbox.end_offset(SOURCE, partition)?, end))
                });
                if let Some((begin, end)) = note(world, elected) {
                    let mut ledger = world.ledger();
                    ledger.forget(partition, begin..end);
                    ledger.went_back(partition);
                }
            }
            Self::Coordinator { node } => {
                let moved = world.with_brokers(|sandbox| sandbox.move_coordinator(group(&world.setting), node));
                note(world, moved);
            }
            Self::TransactionCoordinator { partition, node } => {
                let id = format!("{}-{SOURCE}-{}", group(&world.setting), world.source_partition(partition));
                let moved = world.with_brokers(|sandbox| sandbox.move_transaction_coordinator(&id, node));
                note(world, moved);
            }
            Self::Loading { lasts } => {
                world.with_brokers(|sandbox| sandbox.set_loading(group(&world.setting), true));
                world.later(lasts, |world| {
                    world.with_brokers(|sandbox| sandbox.set_loading(group(&world.setting), false));
                });
            }
            Self::Markers { lasts } => {
                world.with_brokers(|sandbox| sandbox.hold_markers(true));
                world.later(lasts, |world| world.with_brokers(|sandbox| sandbox.hold_markers(false)));
            }
            Self::Roll { partition } => {
                let partition = world.source_partition(partition);
                let rolled = world.with_brokers(|sandbox| sandbox.roll_segment(SOURCE, partition));
                note(world, rolled);
            }
            Self::Hole { partition, offsets } => {
                let partition = world.source_partition(partition);
                let made = world.with_brokers(|sandbox| sandbox.append_hole(SOURCE, partition, offsets));
                note(world, made);
                // No log ends so: its last segment is not compacted.
                let last = Sending { partition, records: 1, kind: Kind::Usual, codec: Compression::None };
                world.send(&last);
            }
            Self::Trim { partition, percent } => {
                let partition = world.source_partition(partition);
                let trimmed = world.with_brokers(|sandbox| {
                    let begin = sandbox.log_start_offset(SOURCE, partition)?;
                    let end = sandbox.end_offset(SOURCE, partition)?;
                    sandbox.delete_records(SOURCE, partition, begin + (end - begin) * percent / 100)
                });
                if let Some(begin) = note(world, trimmed) {
                    world.ledger().forget(partition, 0..begin);
                }
            }
            Self::Damage { partition, percent, harm } => damage(world, partition, percent, harm),
            Self::Partition => {
                let grown = world.with_brokers(|sandbox| {
                    let total = sandbox.partitions(SOURCE) + 1;
                    if total <= 8 { sandbox.add_partitions(SOURCE, total) } else { Ok(()) }
                });
                note(world, grown);
            }
        }
    }
}

/// What the sandbox gave; what it refused is a mistake of the simulation's own, and noted as such.
fn note<T>(world: &World, result: Result<T, kafka_sandbox::SandboxError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            world.ledger().note(format!("a fault could not be done: {error}"));
            None
        }
    }
}

/// The coordinator of now answers from memory, and another takes what is written.
fn strike_coordinator(world: &mut World, node: i32, lasts: Duration) {
    let group = group(&world.setting);
    let armed = world.with_brokers(|sandbox| {
        let former = sandbox.coordinator(group).ok().filter(|former| *former != node)?;
        let stale = Action::Stale(sandbox.snapshot());
        sandbox.move_coordinator(group, node).ok()?;
        Some(sandbox.fault(Armed::on(Api::OffsetFetch).node(former).forever(), stale))
    });
    if let Some(armed) = armed {
        // Who begins where a former offset says, writes once more what came after it.
        world.may_repeat = true;
        world.later(lasts, move |_| armed.remove());
    }
}

fn strike_way(world: &mut World, from: Option<usize>, to: i32, trouble: Trouble) {
    let path = world.path(from, to);
    let usual = if from.is_none() { world.setting.latency } else { Duration::ZERO };
    match trouble {
        Trouble::Cut => {
            path.cut();
        }
        Trouble::CutAfter(bytes) => path.cut_after(bytes),
        Trouble::Stall(lasts) => {
            path.stall();
            world.later(lasts, move |_| path.resume());
        }
        Trouble::Slow(by, lasts) => {
            path.delay(usual + by);
            world.later(lasts, move |_| path.delay(usual));
        }
    }
}

fn strike_instance(world: &mut World, instance: usize, trouble: Mishap) {
    let now = world.now();
    let Some(struck) = world.instances.get_mut(instance) else { return };
    match trouble {
        Mishap::Kill(down) => {
            let was_up = struck.kill(now + down);
            world.may_repeat |= was_up;
        }
        Mishap::Restart(down) => struck.stop(down),
        Mishap::Stop(lasts) => struck.pause(now + lasts, false),
        Mishap::Sleep(lasts) => struck.pause(now + lasts, true),
        Mishap::Day(by_ms) => struck.shift_day(by_ms),
    }
}

fn damage(world: &mut World, partition: i32, percent: i64, harm: Harm) {
    let partition = world.source_partition(partition);
    let damage = match harm {
        Harm::Flip(at) => Damage::Flip { at, mask: 1 },
        Harm::Record(index) => Damage::Record(index),
        Harm::Count(count) => Damage::RecordCount(count),
        Harm::Epoch(epoch) => Damage::LeaderEpoch(epoch),
    };
    let damaged = world.with_brokers(|sandbox| {
        let (begin, end) =
            (sandbox.log_start_offset(SOURCE, partition).ok()?, sandbox.end_offset(SOURCE, partition).ok()?);
        let offset = begin + (end - begin) * percent / 100;
        // Where nothing lies, or nothing of that kind, there is nothing to damage.
        let batch = sandbox.stored_batch(SOURCE, partition, offset).ok()?;
        sandbox.damage(SOURCE, partition, offset, &damage).ok()?;
        let base = i64::from_be_bytes(*batch.first_chunk()?);
        let delta = i32::from_be_bytes(*batch.get(23..)?.first_chunk()?);
        Some(base..base + i64::from(delta) + 1)
    });
    if let Some(offsets) = damaged {
        world.ledger().damage(partition, offsets);
    }
}

impl From<Answer> for Action {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Error(code) => Self::Error(code),
            Answer::Late(by) => Self::Delay(by),
            Answer::EndBefore => Self::DisconnectBefore,
            Answer::EndAfter => Self::DisconnectAfter,
            Answer::SilenceBefore => Self::Silence,
            Answer::SilenceAfter => Self::SilenceAfter,
            Answer::Half => Self::TruncatedFrame,
            Answer::Corrupt => Self::CorruptRecords,
            Answer::Throttled(ms) => Self::Throttle(ms),
            Answer::Trailing(bytes) => Self::Trailing(bytes),
            Answer::Oversize => Self::Oversize(OVERSIZE),
        }
    }
}
