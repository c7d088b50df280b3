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

/// A disk with so many MiB free, of which these sessions took so many since.
fn disk(free: u64, taken: &[(u64, u64)]) -> Disk {
    let taken = taken.iter().map(|(session, mib)| (*session, mib * MIB)).collect();
    Disk { place: place(), in_memory: false, mark: free * MIB, free: free * MIB, taken }
}

/// Sessions 4 and 9 are to leave 50 MiB, session 7 only 10.
fn judged(disk: &mut Disk, free: u64) -> Option<u64> {
    disk.judge(free * MIB, &HashMap::from([(4, 50 * MIB), (9, 50 * MIB), (7, 10 * MIB)]))
}

#[test]
fn who_took_most_of_what_is_missing_is_ended_and_nobody_for_anothers_taking() {
    let check = |taken: &[(u64, u64)], free, expected| {
        assert_eq!(judged(&mut disk(60, taken), free), expected, "{taken:?}, {free}");
    };
    check(&[(4, 5), (9, 20)], 40, Some(9));
    check(&[(4, 5), (9, 20)], 55, None);
    check(&[(4, 5), (9, 9)], 40, None);
    check(&[(7, 30), (9, 12)], 40, Some(9));
    check(&[], 0, None);
    check(&[(7, 60)], 0, Some(7));
}

#[test]
fn what_is_taken_slowly_adds_up_and_what_comes_back_is_forgotten() {
    let mut slow = disk(45, &[]);
    for _ in 0..3 {
        *slow.taken.entry(4).or_default() += MIB / 4;
        let free = slow.free - MIB / 4;
        assert_eq!(slow.judge(free, &HashMap::from([(4, 50 * MIB)])), None);
        assert_eq!(slow.pause(50 * MIB), LOOK_CLOSELY);
    }
    *slow.taken.entry(4).or_default() += MIB / 4;
    assert_eq!(slow.judge(44 * MIB, &HashMap::from([(4, 50 * MIB)])), Some(4));
    // Nothing is missing: who writes over and over again in one place takes nothing.
    assert_eq!(judged(&mut disk(45, &[(4, 70)]), 45), None);
    let mut again = disk(45, &[(4, 70)]);
    assert_eq!(judged(&mut again, 46), None);
    assert_eq!((judged(&mut again, 44), again.pause(50 * MIB)), (None, LOOK_AGAIN));
}

#[test]
fn a_process_says_what_it_wrote_whatever_it_is_called() {
    let me = Pid::this();
    let before = written(me);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![1; 8 << 20]).unwrap();
    assert!(written(me).to_anything - before.to_anything >= 8 << 20);
    assert_eq!(written(Pid::from_raw(i32::MAX)), Written::default());
    let start = start_of(me);
    assert!(start > 0);
    assert_eq!(start_of(Pid::from_raw(i32::MAX)), 0);
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
