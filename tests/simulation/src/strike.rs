//! What each fault does to the world.

use std::sync::Arc;
use std::time::Duration;

use kafka_records::compression::Compression;
use kafka_sandbox::{Action, Api, Damage, Fault as Armed, SandboxError};

use crate::disk::{Disk, DiskTrouble};
use crate::ledger::{DEAD, OUTPUT, SOURCE};
use crate::scenario::{Fault, Kind, Mishap, PARTITIONS, Sending, Trouble};
use crate::world::{GROUP, UNKNOWN_TOPIC, World};

/// Longer than anything takes that was held up, once it no longer is.
const LATE: Duration = Duration::from_secs(5);

/// How long an instance is down that gets another release.
const DEPLOYING: Duration = Duration::from_millis(500);

/// An error that ends a transaction.
const INVALID_TXN_STATE: i16 = 48;

/// An error that brokers give while they lack replicas: nothing is written.
const NOT_ENOUGH_REPLICAS: i16 = 19;

impl Fault {
    /// Does it, and plans its end where it has one.
    pub(crate) fn strike(self, world: &mut World) {
        match self {
            Self::Requests { api, node, times, answer } => {
                let is_late = matches!(answer, Action::Delay(_) | Action::Throttle(_));
                if is_late {
                    world.ledger().may_be_late(Duration::MAX); // whenever that request comes
                }
                // A commit that was given up and is carried out after a later one takes the group's offset back: who has
                // the partition next begins there (docs/dev/known-gaps.md).
                world.may_repeat |= is_late && api == Api::OffsetCommit;
                let armed = Armed::on(api).times(times);
                let armed = node.into_iter().fold(armed, Armed::node);
                world.with_brokers(|sandbox| drop(sandbox.fault(armed, answer)));
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
            Self::Disk { instance, trouble } => strike_disk(world, instance, trouble),
            Self::Deploy { release, apart } => {
                world.ledger().rules().into_iter().for_each(|rules| rules.deployed(release));
                let mut at = world.now();
                for instance in 0..world.instances.len() {
                    world.at(at, move |world| {
                        if let Some(struck) = world.instances.get_mut(instance) {
                            struck.release(release);
                            struck.stop(DEPLOYING);
                        }
                    });
                    at += apart;
                }
            }
            Self::Countries { instance, by } => world.put_countries(instance, by),
            Self::Crash { node, lasts } => {
                world.end_former(); // another may become the coordinator
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
                    drop(ledger);
                    go_on(world, partition);
                }
            }
            Self::Coordinator { node } => {
                world.end_former(); // it may be this one
                let moved = world.with_brokers(|sandbox| sandbox.move_coordinator(GROUP, node));
                note(world, moved);
            }
            Self::TransactionCoordinator { partition, node } => {
                let id = format!("{}-{SOURCE}-{}", GROUP, world.source_partition(partition));
                let moved = world.with_brokers(|sandbox| sandbox.move_transaction_coordinator(&id, node));
                note(world, moved);
            }
            Self::Loading { lasts } => {
                world.with_brokers(|sandbox| sandbox.set_loading(GROUP, true));
                world.later(lasts, |world| {
                    world.with_brokers(|sandbox| sandbox.set_loading(GROUP, false));
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
                go_on(world, partition);
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
            Self::Anew { topic, lasts } => make_anew(world, topic, lasts),
            Self::Damage { partition, percent, harm } => damage(world, partition, percent, &harm),
            Self::Partition => {
                let grown = world.with_brokers(|sandbox| {
                    let total = sandbox.partitions(SOURCE) + 1;
                    if total <= PARTITIONS { sandbox.add_partitions(SOURCE, total) } else { Ok(()) }
                });
                note(world, grown);
            }
        }
    }
}

/// Writes a record. No log ends in a hole for long: its last segment is not compacted, and if what came behind a hole is
/// lost, more comes. Until then nobody can tell a hole from a batch that a broker does not find.
fn go_on(world: &mut World, partition: i32) {
    world.send(&Sending { partition, records: 1, kind: Kind::Usual, codec: Compression::None });
}

/// What was written to a topic that goes is gone with it, and counts as written here.
fn make_anew(world: &mut World, topic: usize, lasts: Duration) {
    let topic = [SOURCE, OUTPUT, DEAD][topic % 3];
    // What its transaction has committed in a topic that was deleted meanwhile, nobody can say; and what a pipeline makes
    // itself has other partitions.
    let makes = world.setting.has("topics.create", "missing");
    if (world.setting.is_exactly_once || makes) && topic != SOURCE {
        return;
    }
    let partitions = world.with_brokers(|sandbox| sandbox.partitions(topic));
    let deleted = world.with_brokers(|sandbox| sandbox.delete_topic(topic));
    if deleted.is_err() {
        return; // it is gone already
    }
    if topic == SOURCE {
        let mut ledger = world.ledger();
        for partition in 0..partitions {
            ledger.forget(partition, 0..i64::MAX);
            ledger.went_back(partition);
        }
    } else {
        world.may_repeat = true;
    }
    world.later(lasts, move |world| {
        let config = world.setting.topic(topic, partitions);
        // Unless a pipeline has made it already.
        if world.with_brokers(|sandbox| sandbox.partitions(topic)) == 0 {
            let made = world.with_brokers(|sandbox| sandbox.create_topic_with(topic, config));
            note(world, made);
        }
    });
}

/// What the sandbox gave; what it refused is a mistake of the simulation's own, and noted as such.
fn note<T>(world: &World, result: Result<T, SandboxError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        // The topic is away.
        Err(SandboxError::Refused { code: UNKNOWN_TOPIC }) => None,
        Err(error) => {
            world.ledger().note(format!("a fault could not be done: {error}"));
            None
        }
    }
}

/// The coordinator of now answers from memory, and another takes what is written.
fn strike_coordinator(world: &mut World, node: i32, lasts: Duration) {
    world.end_former();
    let armed = world.with_brokers(|sandbox| {
        let former = sandbox.coordinator(GROUP).ok().filter(|former| *former != node)?;
        let stale = Action::Stale(sandbox.snapshot());
        sandbox.move_coordinator(GROUP, node).ok()?;
        let armed = |api| sandbox.fault(Armed::on(api).node(former).forever(), stale.clone());
        Some([Api::OffsetFetch, Api::FindCoordinator].map(armed))
    });
    if let Some(armed) = armed {
        // Who begins where a former offset says, writes once more what came after it.
        world.may_repeat = true;
        world.ledger().may_be_told_old();
        world.former.extend(armed);
        world.later(lasts, World::end_former);
        if world.setting.is_exactly_once {
            // Who gives up a transaction asks where to begin.
            let aborted = Armed::on(Api::Produce).times(2);
            world.later(lasts / 2, move |world| {
                world.with_brokers(|sandbox| drop(sandbox.fault(aborted, Action::Error(INVALID_TXN_STATE))));
            });
        }
    }
}

fn strike_way(world: &mut World, from: Option<usize>, to: i32, trouble: Trouble) {
    let path = world.path(from, to);
    let usual = world.usual_delay(from);
    match trouble {
        Trouble::Cut => {
            path.cut();
        }
        Trouble::CutAfter(bytes) => path.cut_after(bytes),
        Trouble::Stall(lasts) => {
            world.ledger().may_be_late(world.now() + lasts + LATE);
            path.stall();
            world.later(lasts, move |_| path.resume());
        }
        Trouble::Slow(by, lasts) => {
            world.ledger().may_be_late(world.now() + lasts + LATE);
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
            let was_up = struck.kill(now + down, &mut world.random);
            world.may_repeat |= was_up;
        }
        Mishap::Restart(down) => struck.stop(down),
        Mishap::Stop(lasts) => struck.pause(now + lasts, false),
        Mishap::Sleep(lasts) => struck.pause(now + lasts, true),
        Mishap::StopWriting { lasts, is_sleep } => {
            let refused = Armed::on(Api::Produce).client(struck.name()).forever();
            let handle = world.with_brokers(|sandbox| sandbox.fault(refused, Action::Error(NOT_ENOUGH_REPLICAS)));
            world.later(Duration::from_millis(300), move |world| {
                let until = world.now() + lasts;
                world.instances.get_mut(instance).into_iter().for_each(|struck| struck.pause(until, is_sleep));
            });
            world.later(lasts, move |_| handle.remove());
        }
        Mishap::Day(by_ms) => struck.shift_day(by_ms),
    }
}

fn strike_disk(world: &mut World, instance: usize, trouble: DiskTrouble) {
    let now = world.now();
    let Some(struck) = world.instances.get_mut(instance) else { return };
    match trouble {
        DiskTrouble::Full(lasts) | DiskTrouble::ReadOnly(lasts) => {
            struck.disk(|disk| disk.block(matches!(trouble, DiskTrouble::Full(_))));
            world.later(lasts, move |world| on_disk(world, instance, |disk| disk.unblock()));
        }
        DiskTrouble::Slow(by, lasts) => {
            struck.slow_disk(by);
            world.later(lasts, move |world| {
                world.instances.get_mut(instance).into_iter().for_each(|struck| struck.slow_disk(Duration::ZERO));
            });
        }
        DiskTrouble::Damaged { partition, percent, lasts } => {
            if struck.disk(|disk| disk.damage(partition, percent)) == Some(true) {
                let was_up = struck.kill(now, &mut world.random);
                world.may_repeat |= was_up;
                world.later(lasts, move |world| on_disk(world, instance, |disk| disk.repair(partition)));
            }
        }
    }
}

fn on_disk(world: &mut World, instance: usize, work: impl FnOnce(&mut Disk)) {
    if let Some(struck) = world.instances.get_mut(instance) {
        struck.disk(work);
    }
}

fn damage(world: &mut World, partition: i32, percent: i64, harm: &Damage) {
    let partition = world.source_partition(partition);
    let damaged = world.with_brokers(|sandbox| {
        let (begin, end) =
            (sandbox.log_start_offset(SOURCE, partition).ok()?, sandbox.end_offset(SOURCE, partition).ok()?);
        let mut offset = begin + (end - begin) * percent / 100;
        // What ends a segment ends an answer: nothing shows there how far the damage goes.
        if matches!(harm, Damage::Flip { at, .. } if at % 2 == 0) {
            let segments = sandbox.segments(SOURCE, partition).ok()?;
            offset = segments.into_iter().find(|base| *base > offset).map_or(offset, |base| base - 1);
        }
        // Where nothing lies, or nothing of that kind, there is nothing to damage.
        let batch = sandbox.stored_batch(SOURCE, partition, offset).ok()?;
        sandbox.damage(SOURCE, partition, offset, harm).ok()?;
        let base = i64::from_be_bytes(*batch.first_chunk()?);
        if let Damage::Record(index) = harm {
            let offset = base + i64::try_from(*index).ok()?; // its neighbours are as they were
            return Some(offset..offset + 1);
        }
        let delta = i32::from_be_bytes(*batch.get(23..)?.first_chunk()?);
        Some(base..base + i64::from(delta) + 1)
    });
    if let Some(offsets) = damaged {
        world.ledger().damage(partition, offsets);
    }
}
