//! Filters as BPF programs: instructions of our own, a search by number, and sections that seccompiler makes of a table.
//!
//! seccompiler compares number after number and checks the architecture. Before it goes what it cannot say (x32 calls kill; clone3,
//! whose flags are out of sight behind a pointer, is ENOSYS, and libc falls back to clone; other errors than one), and what makes the road short: when a
//! filter is loaded the kernel walks it for every number of every architecture. A foreign call is killed at once, and a search finds
//! the one section that can match.

use std::{collections::BTreeMap, env::consts::ARCH};

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, sock_filter};

/// A table: the calls, each with the rules under which it is meant; none means always.
pub type Table = BTreeMap<i64, Vec<SeccompRule>>;

/// What is answered as if the kernel, or the file system, did not know it: libc and programs have another way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// clone3 is ENOSYS.
    pub clone3: bool,
    /// openat2 is ENOSYS.
    pub openat2: bool,
    /// fallocate is EOPNOTSUPP where it takes much space; it may give some back.
    pub preallocation: bool,
}

/// Calls in one section.
const SECTION: usize = 6;

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const JUMP_IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// seccomp_data.nr and .arch.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower half of the second argument, where numbers begin with that.
const SECOND: u32 = 24;
/// Both halves of the fourth.
const FOURTH: [u32; 2] = [40, 44];
/// What nobody minds: databases reserve their shared memory like that, and musl has no other way.
const PREALLOCATED_MAX: u32 = 16 << 20;
/// FALLOC_FL_PUNCH_HOLE and FALLOC_FL_COLLAPSE_RANGE.
const GIVES_BACK: u32 = 0x02 | 0x08;
/// __X32_SYSCALL_BIT; no native call of any architecture has it.
const X32: u32 = 0x4000_0000;

/// The program for a table.
pub fn program(
    table: &Table,
    mismatch: &SeccompAction,
    matched: &SeccompAction,
    unknown: Unknown,
) -> BpfProgram {
    let calls: Vec<_> = table.iter().collect();
    let section = |calls: &[(&i64, &Vec<SeccompRule>)]| {
        let table: Table = calls.iter().map(|(call, rules)| (**call, (*rules).clone())).collect();
        let first = table.keys().next().map_or(0, |call| *call as u32);
        (first, compiled(table, mismatch, matched))
    };
    let sections: Vec<(u32, BpfProgram)> = calls.chunks(SECTION).map(section).collect();
    let mut program = prelude(unknown);
    program.extend(search(&sections));
    program.extend(sections.into_iter().flat_map(|(_, section)| section));
    program
}

fn compiled(table: Table, mismatch: &SeccompAction, matched: &SeccompAction) -> BpfProgram {
    let arch = TargetArch::try_from(ARCH).expect("the build's architecture is one that seccompiler knows");
    let filter = SeccompFilter::new(table, mismatch.clone(), matched.clone(), arch);
    let filter = filter.expect("the table is well-formed");
    BpfProgram::try_from(filter).expect("the table fits a program")
}

#[cfg(not(all(
    target_pointer_width = "64",
    target_endian = "little",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
)))]
compile_error!(
    "dunlind runs on x86_64, aarch64 and riscv64, with pointers of 64 bits: its system call filters are made for these, \
     and system calls get numbers of 64 bits in one register"
);

/// The kernel's AUDIT_ARCH_ of this build, which each section compares with too.
const NATIVE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else {
    0xc000_00f3
};

fn prelude(unknown: Unknown) -> BpfProgram {
    let mut program = vec![
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: ARCHITECTURE },
        sock_filter { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: NATIVE },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_KILL_PROCESS },
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: NUMBER },
        sock_filter { code: JUMP_IF_SET, jt: 0, jf: 1, k: X32 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_KILL_PROCESS },
    ];
    let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    for (_, call) in [(unknown.clone3, libc::SYS_clone3), (unknown.openat2, libc::SYS_openat2)]
        .iter()
        .filter(|(is_unknown, _)| *is_unknown)
    {
        program.push(sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: *call as u32 });
        program.push(sock_filter { code: RETURN, jt: 0, jf: 0, k: missing });
    }
    if unknown.preallocation {
        let unsupported = libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP as u32;
        program.extend([
            sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 8, k: libc::SYS_fallocate as u32 },
            sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: SECOND },
            sock_filter { code: JUMP_IF_SET, jt: 5, jf: 0, k: GIVES_BACK },
            sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: FOURTH[1] },
            sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 2, k: 0 },
            sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: FOURTH[0] },
            sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: PREALLOCATED_MAX + 1 },
            sock_filter { code: RETURN, jt: 0, jf: 0, k: unsupported },
            sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: NUMBER },
        ]);
    }
    program
}

/// Finds the last section that begins at or below the number, which is loaded. The sections follow, in order.
fn search(sections: &[(u32, BpfProgram)]) -> BpfProgram {
    let mut program = Vec::new();
    let mut leaves = Vec::new();
    branch(sections, &mut program, &mut leaves);
    let mut begin = program.len();
    for (leaf, (_, section)) in leaves.into_iter().zip(sections) {
        // Jumps are relative to the next instruction.
        program[leaf].k = (begin - leaf - 1) as u32;
        begin += section.len();
    }
    program
}

fn branch(sections: &[(u32, BpfProgram)], program: &mut BpfProgram, leaves: &mut Vec<usize>) {
    let at = program.len();
    if sections.len() < 2 {
        leaves.push(at);
        return program.push(sock_filter { code: JUMP, jt: 0, jf: 0, k: 0 });
    }
    let (lower, upper) = sections.split_at(sections.len() / 2);
    program.push(sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 0, k: upper[0].0 });
    branch(lower, program, leaves);
    program[at].jt = u8::try_from(program.len() - at - 1).expect("a search of some dozen sections is short");
    branch(upper, program, leaves);
}

/// As the plan carries it.
pub fn bytes(program: &[sock_filter]) -> Vec<u8> {
    let encode = |instruction: &sock_filter| {
        let [a, b] = instruction.code.to_ne_bytes();
        let [w, x, y, z] = instruction.k.to_ne_bytes();
        [a, b, instruction.jt, instruction.jf, w, x, y, z]
    };
    program.iter().flat_map(encode).collect()
}

/// `None`: these are no instructions.
pub fn from_bytes(bytes: &[u8]) -> Option<BpfProgram> {
    let (instructions, rest) = bytes.as_chunks::<8>();
    let decode = |&[a, b, jt, jf, w, x, y, z]: &[u8; 8]| sock_filter {
        code: u16::from_ne_bytes([a, b]),
        jt,
        jf,
        k: u32::from_ne_bytes([w, x, y, z]),
    };
    rest.is_empty().then(|| instructions.iter().map(decode).collect())
}

#[cfg(test)]
mod tests {
    use seccompiler::{SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition};

    use super::*;

    /// What a program says to a call, as the kernel would run it: number, architecture, each argument.
    fn verdict(program: &[sock_filter], number: u32, arch: u32, argument: u32) -> u32 {
        run(program, number, arch, [argument.into(); 6])
    }

    fn run(program: &[sock_filter], number: u32, arch: u32, arguments: [u64; 6]) -> u32 {
        let mut loaded = 0;
        let mut at = 0;
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let mut jump = |is: bool| at += usize::from(if is { jt } else { jf });
            match code {
                LOAD_WORD => {
                    loaded = match k {
                        0 => number,
                        4 => arch,
                        at @ 16.. => (arguments[at as usize / 8 - 2] >> (at % 8 * 8)) as u32,
                        _ => 0,
                    }
                }
                JUMP => at += k as usize,
                JUMP_IF_SET => jump(loaded & k != 0),
                JUMP_IF_EQUAL => jump(loaded == k),
                JUMP_IF_AT_LEAST => jump(loaded >= k),
                RETURN => return k,
                other => panic!("an instruction that no filter of ours has: {other}"),
            }
        }
    }

    #[test]
    fn a_search_by_number_says_what_a_comparison_with_each_says() {
        let is = |value| SeccompCondition::new(0, Dword, SeccompCmpOp::Eq, value).unwrap();
        let rules = |call: i64| match call % 3 {
            0 => vec![SeccompRule::new(vec![is(7)]).unwrap()],
            _ => Vec::new(),
        };
        let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(1));
        assert_eq!(compiled(Table::from([(1, Vec::new())]), &allow, &refuse)[1].k, NATIVE);
        for size in [1, SECTION, SECTION + 1, 97] {
            let table: Table = (0..size as i64).map(|call| (call * 5 + 2, rules(call))).collect();
            let flat = compiled(table.clone(), &allow, &refuse);
            let arch = NATIVE;
            let searched = program(&table, &allow, &refuse, Unknown::default());
            for (number, arch, argument) in
                (0..600).flat_map(|number| [(number, arch, 0), (number, arch, 7), (number, 3, 7)])
            {
                let expected = verdict(&flat, number, arch, argument);
                assert_eq!(
                    verdict(&searched, number, arch, argument),
                    expected,
                    "{size}: {number} {argument}"
                );
            }
            assert_eq!(verdict(&searched, X32 | 2, arch, 0), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }

    #[test]
    fn preallocation_is_unknown_where_it_takes_much_space_and_other_calls_are_not() {
        let table = Table::from([(libc::SYS_fchmod, Vec::new())]);
        let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(1));
        let unknown = Unknown { clone3: true, openat2: true, preallocation: true };
        let program = program(&table, &allow, &refuse, unknown);
        let unsupported = libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP as u32;
        let takes = |mode, length| {
            run(&program, libc::SYS_fallocate as u32, NATIVE, [3, mode, 0, length, 0, 0]) == unsupported
        };
        assert_eq!([0, 1, 0x10, 0x20, 0x40, 0x80, 0x100].map(|mode| takes(mode, 1 << 30)), [true; 7]);
        assert_eq!([0x03, 0x08].map(|mode| takes(mode, 1 << 30)), [false; 2]);
        let much = [0, 1 << 20, 16 << 20, (16 << 20) + 1, 1 << 31, 1 << 32, u64::MAX];
        assert_eq!(much.map(|length| takes(0, length)), [false, false, false, true, true, true, true]);
        let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        for call in [libc::SYS_clone3, libc::SYS_openat2] {
            assert_eq!(verdict(&program, call as u32, NATIVE, 0), missing);
        }
        assert_eq!(verdict(&program, libc::SYS_read as u32, NATIVE, 0), libc::SECCOMP_RET_ALLOW);
        assert_eq!(verdict(&program, libc::SYS_fchmod as u32, NATIVE, 0), libc::SECCOMP_RET_ERRNO | 1);
    }

    #[test]
    fn bytes_that_are_no_instructions_are_no_program() {
        let program = prelude(Unknown { clone3: true, openat2: true, preallocation: true });
        assert_eq!(from_bytes(&bytes(&program)).unwrap().len(), program.len());
        assert!(from_bytes(&[0; 9]).is_none());
    }
}
