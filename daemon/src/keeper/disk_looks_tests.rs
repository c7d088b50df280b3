//! Owns the tests of `disk_looks`.

use std::io::Write;

use super::*;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

#[test]
fn a_floor_is_the_reserve_unless_the_disk_is_small_or_full_already() {
    let check = |free: u64, all: u64, expected: u64| {
        assert_eq!(floor(GIB, (free, all)), expected, "{free} of {all}");
    };
    check(70 * GIB, 500 * GIB, GIB);
    check(2 * GIB, 2 * GIB, 2 * GIB / 20);
    check(GIB, 500 * GIB, GIB / 2);
    check(300 * MIB, 500 * GIB, GIB / 4);
    check(0, 500 * GIB, GIB / 4);
}

fn place() -> OwnedFd {
    OwnedFd::from(tempfile::tempfile().unwrap())
}

/// A disk with so many MiB free, below which these sessions wrote so many since.
fn disk(free: u64, wrote: &[(u64, u64)]) -> Disk {
    let wrote =
        wrote.iter().map(|(session, mib)| (*session, Wrote { now: mib * MIB, ..Wrote::default() })).collect();
    Disk { place: place(), in_memory: false, mark: free * MIB, free: free * MIB, wrote, forgot: None }
}

/// The next look, which finds so many bytes. Sessions 4 and 9 are to leave 50 MiB, session 7 only 10.
fn look(disk: &mut Disk, free: u64) -> Option<u64> {
    disk.note(free, Instant::now());
    disk.judge(free, &HashMap::from([(4, 50 * MIB), (9, 50 * MIB), (7, 10 * MIB)]))
}

#[test]
fn who_took_most_of_what_is_missing_is_ended_and_nobody_for_anothers_taking() {
    let check = |wrote: &[(u64, u64)], free, expected| {
        assert_eq!(look(&mut disk(60, wrote), free * MIB), expected, "{wrote:?}, {free}");
    };
    check(&[(4, 5), (9, 20)], 40, Some(9));
    check(&[(4, 5), (9, 20)], 55, None);
    check(&[(4, 5), (9, 9)], 40, Some(9));
    check(&[(4, 5), (9, 4)], 40, None);
    check(&[(7, 30), (9, 12)], 40, Some(9));
    check(&[], 0, None);
    check(&[(7, 60)], 0, Some(7));
    check(&[(4, 70), (9, 11)], 40, Some(9));
    check(&[(4, 70), (9, 3)], 40, Some(4));
    check(&[(4, 190), (9, 3)], 40, None);
    let mut hiding = disk(60, &[(4, 5), (9, 0)]);
    hiding.wrote.get_mut(&9).unwrap().hides = true;
    assert_eq!(look(&mut hiding, 40 * MIB), Some(9), "what nobody else explains is whose who hides");
}

#[test]
fn what_is_taken_slowly_adds_up() {
    let mut slow = disk(45, &[(4, 0)]);
    for quarter in 1..=4 {
        slow.wrote.get_mut(&4).unwrap().now = MIB / 4;
        let named = look(&mut slow, 45 * MIB - quarter * MIB / 4);
        assert_eq!(named, (quarter == 4).then_some(4));
        let pause = if quarter == 4 { LOOK_AGAIN } else { LOOK_CLOSELY };
        assert_eq!(slow.pause(50 * MIB), pause);
    }
}

#[test]
fn who_writes_in_one_place_is_not_ended_for_what_another_program_takes() {
    let mut busy = disk(45, &[(4, 32)]);
    assert_eq!(look(&mut busy, 45 * MIB), None, "nothing is missing");
    busy.wrote.get_mut(&4).unwrap().now = 8 * MIB;
    assert_eq!(look(&mut busy, 40 * MIB), Some(4), "it wrote more before, but not that much more");
    let mut busy = disk(45, &[(4, 33)]);
    assert_eq!(look(&mut busy, 45 * MIB), None);
    busy.wrote.get_mut(&4).unwrap().now = 8 * MIB;
    assert_eq!(look(&mut busy, 40 * MIB), None, "it writes far more while nothing is taken");
    assert_eq!(look(&mut busy, 46 * MIB), None, "more is free");
}

#[test]
fn a_process_says_what_it_wrote() {
    let me = Pid::this();
    let before = written(me).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![1; 8 << 20]).unwrap();
    assert!(written(me).unwrap().since(before).to_anything >= 8 << 20);
    assert!(written(Pid::from_raw(i32::MAX)).is_err());
}

#[test]
fn looks_come_the_sooner_the_less_is_free_and_end_with_the_sessions() {
    let mut looks = Looks::default();
    let (sandbox, init) = (1, Pid::this());
    looks.learn(News::Sandbox { sandbox, init, reserve_bytes: 1, places: vec![place()] });
    assert_eq!((looks.pause(), looks.next), (None, None));
    looks.learn(News::Session { session: 4, sandbox, reaper: 2 });
    assert!(looks.next.is_some());
    assert_eq!(looks.look(), [] as [u64; 0]);
    let disk = looks.disks.values_mut().next().unwrap();
    disk.free = 40 * GIB;
    assert_eq!(looks.pause(), Some(Duration::from_secs(5)));
    looks.learn(News::SessionEnded { session: 4, sandbox });
    assert_eq!(looks.pause(), None);
    looks.learn(News::SandboxEnded { sandbox });
    assert!(looks.disks.is_empty());
}
