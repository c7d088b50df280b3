//! The limits that the keeper keeps, as a start orders them and as people read them.

use std::{collections::BTreeMap, time::Duration};

use dunlin_sandbox_profiles::{Amount, Limits};

use super::Record;
use crate::keeper::control::{Frame, LimitReached};

/// The start with its limits.
pub fn of_start(frame: Frame, limits: &Limits) -> Frame {
    let ms = |time: Option<Duration>| {
        time.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1))
    };
    let rate = limits.output_rate.value.map_or(0, |rate| rate.0);
    frame.arg(2, ms(limits.wall_clock.value)).arg(3, ms(limits.idle.value)).arg(4, rate)
}

/// Those that can end a session.
pub fn named(limits: &Limits) -> BTreeMap<String, String> {
    let all = [
        (LimitReached::WallClock, limits.wall_clock.value.map(Amount::print)),
        (LimitReached::Idle, limits.idle.value.map(Amount::print)),
        (LimitReached::Memory, limits.memory.value.map(Amount::print)),
        (LimitReached::DiskReserve, limits.disk_reserve.value.map(Amount::print)),
    ];
    all.into_iter().filter_map(|(limit, value)| Some((name(limit).to_owned(), value?))).collect()
}

/// The limit that was reached with its value, as `limits.wall_clock = 2s`, and what it means where that is no ceiling; empty if none was.
pub fn reached(record: &Record, reached: Option<LimitReached>) -> String {
    let Some(name) = reached.map(name) else { return String::new() };
    let why = if name == self::name(LimitReached::DiskReserve) { " (the disk is nearly full)" } else { "" };
    match record.limits.get(name) {
        Some(value) => format!("limits.{name} = {value}{why}"),
        None => format!("limits.{name}{why}"),
    }
}

fn name(limit: LimitReached) -> &'static str {
    match limit {
        LimitReached::WallClock => "wall_clock",
        LimitReached::Idle => "idle",
        LimitReached::Memory => "memory",
        LimitReached::DiskReserve => "disk_reserve",
    }
}
