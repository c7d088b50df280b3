//! What a machine may lack, and how it is taken from a daemon under test: by a filter, or by mounts of its own.

use nix::libc;

/// One refusal of a filter's: a system call, the argument that it depends on, the error.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    call: i64,
    when: When,
    error: i32,
}

/// Which calls are meant.
#[derive(Clone, Copy, Debug)]
pub enum When {
    Always,
    /// The argument of this number has this value.
    Is(u8, u32),
    /// The argument of this number has one of these bits.
    Any(u8, u32),
}

/// A call that is refused, as a security module does.
pub const fn refused(call: i64, when: When) -> Rule {
    Rule { call, when, error: libc::EPERM }
}

/// A call that this kernel does not have.
pub const fn absent(call: i64) -> Rule {
    Rule { call, when: When::Always, error: libc::ENOSYS }
}

/// A call that fails with an error of its own.
pub const fn failing(call: i64, when: When, error: i32) -> Rule {
    Rule { call, when, error }
}

/// How something is taken away.
#[derive(Clone, Copy, Debug)]
pub enum Taken {
    Nothing,
    /// The daemon and all it starts run under a filter with this rule.
    Call(Rule),
    /// The same with several.
    Calls(&'static [Rule]),
    /// The kernel's Landlock says that it is this old.
    LandlockAbi(&'static str),
    /// The daemon runs in a mount namespace that this line of shell prepared; root only.
    Mounts(&'static str),
}

const EVERY_NAMESPACE: u32 = 0x7e02_0080;
const CALLS_OF_NAMESPACES: &[Rule] = &[
    absent(libc::SYS_clone3),
    refused(libc::SYS_unshare, When::Any(0, EVERY_NAMESPACE)),
    refused(libc::SYS_clone, When::Any(0, EVERY_NAMESPACE)),
];
const CALLS_OF_USER_NAMESPACES: &[Rule] = &[
    absent(libc::SYS_clone3),
    refused(libc::SYS_unshare, When::Any(0, libc::CLONE_NEWUSER as u32)),
    refused(libc::SYS_clone, When::Any(0, libc::CLONE_NEWUSER as u32)),
];
const CALLS_OF_PID_NAMESPACES: &[Rule] = &[
    absent(libc::SYS_clone3),
    refused(libc::SYS_unshare, When::Any(0, libc::CLONE_NEWPID as u32)),
    refused(libc::SYS_clone, When::Any(0, libc::CLONE_NEWPID as u32)),
];

/// Namespaces of every kind.
pub const NAMESPACES: Taken = Taken::Calls(CALLS_OF_NAMESPACES);
/// User namespaces.
pub const USER_NAMESPACES: Taken = Taken::Calls(CALLS_OF_USER_NAMESPACES);
/// Pid namespaces, in which init is born.
pub const PID_NAMESPACES: Taken = Taken::Calls(CALLS_OF_PID_NAMESPACES);

impl Taken {
    /// The words that stand before the daemon's own.
    pub fn wrapper(self) -> Vec<String> {
        let python = |script: &str, word: &str| ["/usr/bin/python3", "-c", script, word].map(str::to_owned);
        match self {
            Self::Nothing => Vec::new(),
            Self::Call(rule) => python(include_str!("without.py"), &rule.word()).into(),
            Self::Calls(rules) => {
                let words: Vec<String> = rules.iter().map(Rule::word).collect();
                python(include_str!("without.py"), &words.join(",")).into()
            }
            Self::LandlockAbi(abi) => python(include_str!("landlock_abi.py"), abi).into(),
            Self::Mounts(line) => {
                let line = format!("{line} || exit 99; exec \"$@\"");
                ["unshare", "-m", "sh", "-c", &line, "sh"].map(str::to_owned).into()
            }
        }
    }
}

impl Rule {
    fn word(&self) -> String {
        let Self { call, error, .. } = self;
        match self.when {
            When::Always => format!("{call}:-:is:0:{error}"),
            When::Is(argument, value) => format!("{call}:{argument}:is:{value}:{error}"),
            When::Any(argument, bits) => format!("{call}:{argument}:any:{bits}:{error}"),
        }
    }
}
