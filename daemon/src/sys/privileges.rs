//! Capabilities and what guards them.

use std::io;

use nix::libc;

/// CAP_SETPCAP: may lower the bounding set and change the secure bits.
const CAP_SETPCAP: u32 = 8;
/// _LINUX_CAPABILITY_VERSION_3: two words a set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each locked; KEEP_CAPS locked off.
const SECURE_BITS: u64 = 0b1110_1111;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Whether the caller may lower its bounding set.
pub fn may_lower_bounding_set() -> io::Result<bool> {
    let mut header = Header { version: CAPABILITY_VERSION, pid: 0 };
    let mut sets = [Word::default(); 2];
    // SAFETY: header and sets have the layout of this version.
    done(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) })?;
    Ok(sets[0].effective & (1 << CAP_SETPCAP) != 0)
}

/// Empties the effective, permitted and inheritable sets.
pub fn clear_capabilities() -> io::Result<()> {
    let mut header = Header { version: CAPABILITY_VERSION, pid: 0 };
    let sets = [Word::default(); 2];
    // SAFETY: header and sets have the layout of this version.
    done(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) })
}

/// Removes one capability from the bounding set. False: the kernel knows no such capability.
pub fn lower_bounding_set(capability: u32) -> io::Result<bool> {
    match prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Empties the ambient set.
pub fn clear_ambient_set() -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)
}

/// User id 0 gains nothing by an exec or a change of ids, for ever.
pub fn lock_secure_bits() -> io::Result<()> {
    prctl(libc::PR_SET_SECUREBITS, SECURE_BITS, 0)
}

fn prctl(option: i32, second: u64, third: u64) -> io::Result<()> {
    // SAFETY: the options above take numbers by value.
    done(unsafe { libc::syscall(libc::SYS_prctl, option, second, third, 0, 0) })
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
