//! Asks the kernel which Landlock it has; the rule sets themselves are the `landlock` crate's.

use nix::libc;

/// The flag of landlock_create_ruleset(2) that asks for the version instead.
const CREATE_RULESET_VERSION: libc::c_uint = 1;

/// The Landlock ABI, 0 if it is not built in or not enabled.
pub fn abi() -> u8 {
    // SAFETY: with this flag the call takes no pointer (null and size 0 are required) and only returns a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    u8::try_from(version).unwrap_or(0)
}
