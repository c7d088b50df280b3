//! Owns the tests of `disks`.

use std::io::Write;

use super::*;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn room(bytes: u64, files: u64) -> Room {
    Room { bytes, files }
}

#[test]
fn a_floor_is_the_reserve_unless_the_disk_is_small_or_full_already() {
    let all = room(500 * GIB, 32_000_000);
    let check = |free: u64, all: u64, expected: u64| {
        let of = (room(free, 32_000_000), room(all, 32_000_000));
        assert_eq!(floor(GIB, of).bytes, expected, "{free} of {all}");
    };
    check(70 * GIB, all.bytes, GIB);
    check(2 * GIB, 2 * GIB, 2 * GIB / 20);
    check(GIB, all.bytes, GIB / 2);
    check(300 * MIB, all.bytes, GIB / 4);
    check(0, all.bytes, GIB / 4);
    assert_eq!(floor(GIB, (all, all)).files, 65_536);
    assert_eq!(floor(GIB, (room(GIB, u64::MAX), room(GIB, u64::MAX))).files, 65_536);
}

fn below(took: &[(u64, Done)]) -> Below {
    Below { by_session: took.iter().copied().collect(), ..Below::new(vec![room(100 * MIB, 9000)]) }
}

#[test]
fn who_took_most_of_what_is_short_is_ended_and_nobody_for_anothers_taking() {
    let wrote = |bytes| Done { bytes, ..Done::default() };
    let two = below(&[(4, wrote(5 * MIB)), (9, wrote(60 * MIB))]);
    let less = [room(40 * MIB, 9000)];
    assert_eq!(two.taker(&less, [true, false]), Some(9));
    assert_eq!(two.taker(&[room(100 * MIB, 9000)], [true, false]), None, "nothing was taken");
    assert_eq!(below(&[(4, wrote(MIB - 1))]).taker(&less, [true, false]), None, "it wrote next to nothing");
    let printed = |characters| Done { characters, ..Done::default() };
    let mixed = below(&[(4, wrote(5 * MIB)), (9, printed(60 * MIB))]);
    assert_eq!(mixed.taker(&less, [true, false]), Some(4), "who printed took nothing of the disk");
    assert_eq!(below(&[(9, printed(60 * MIB))]).taker(&less, [true, false]), Some(9), "in memory");
    let made = below(&[(4, Done { ticks: 3, ..Done::default() }), (9, Done { ticks: 70, ..wrote(10) })]);
    assert_eq!(made.taker(&[room(100 * MIB, 10)], [false, true]), Some(9), "of files");
    assert_eq!(made.taker(&[room(100 * MIB, 8999)], [false, true]), None, "one file is nothing");
}

#[test]
fn a_process_says_what_it_wrote() {
    let before = done(Pid::this());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![1; 8 << 20]).unwrap();
    let wrote = done(Pid::this()).since(before);
    assert!(wrote.characters >= 8 << 20, "{wrote:?}");
    assert_eq!(done(Pid::from_raw(i32::MAX)), Done::default());
    assert_eq!(Done { bytes: 5, ..Done::default() }.since(Done { bytes: 9, ..Done::default() }).bytes, 5);
}

#[test]
fn a_look_sees_the_floor_and_how_far_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let place = || OwnedFd::from(fs::File::open(directory.path()).unwrap());
    assert!(DiskWatch::new(0, vec![place()]).is_none());
    assert!(DiskWatch::new(GIB, Vec::new()).is_none());
    let mut watch = DiskWatch::new(1, vec![place()]).unwrap();
    assert_eq!(watch.look().1, [false, false]);
    let free = watch.look().0;
    watch.disks[0].floor = room(free[0].bytes.saturating_add(GIB), 0);
    assert_eq!((watch.look().1, watch.earliest(&free)), ([true, false], LOOK_CLOSELY));
    watch.disks[0].floor = room(0, 0);
    assert!(watch.earliest(&[room(80 * GIB, u64::MAX)]) == Duration::from_secs(10));
    assert!(watch.earliest(&[PLENTY]) == LOOK);
}
