//! What an attempt is: what it tries, how, how its success is seen, and who can show that the probe works at all.

/// What the daemon under attack may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything this machine has.
    Full,
    /// No namespace of any kind: Landlock and seccomp alone.
    NoNamespace,
    /// No user namespace; root makes the others without.
    NoUserNamespace,
}

/// The attacker's program. Both languages find the facts of the stage as variables.
#[derive(Clone, Copy, Debug)]
pub enum Probe {
    /// For `sh`.
    Shell(&'static str),
    /// For `python3`, behind `prelude.py`.
    Python(&'static str),
}

/// How the attack's success is seen.
#[derive(Clone, Copy, Debug)]
pub enum Works {
    /// The probe prints a line `GOT`.
    Says,
    /// A datagram comes to the stage's port.
    Datagram,
    /// A shell command on the host, behind the probe's back, ends with 0.
    Host(&'static str),
}

/// Where the same probe works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// Outside, as the same user.
    Plain,
    /// Outside, as root: an ordinary user could not do it anyway.
    Root,
    /// Outside, as root, behind a program that keeps the machine safe from it.
    Behind(&'static [&'static str]),
    /// In the sandbox that the attempt wants to reach.
    Neighbour,
}

/// What follows the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ends by itself.
    Itself,
    /// Once it has made the file `ready`, its session is killed. Outside the probe alone is.
    Killed,
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// What it tries; unique.
    pub name: &'static str,
    pub probe: Probe,
    pub works: Works,
    pub twin: Twin,
    /// The capability without which even root's twin is refused, by number.
    pub capability: Option<u8>,
    pub ending: Ending,
    /// Run on the host before, as the world's user.
    pub before: &'static str,
    /// Run on the host before, as root; without root the attempt is skipped.
    pub root_before: &'static str,
    /// Run on the host after, as whoever runs the tests.
    pub after: &'static str,
    /// A shell command that ends with 0 where the attempt makes sense.
    pub needs: &'static str,
    /// Part of the message by which the sandbox may refuse to be made at all.
    pub refusal: Option<&'static str>,
    /// More words for `dunlin run`.
    pub words: &'static [&'static str],
}

impl Attempt {
    pub const fn shell(name: &'static str, probe: &'static str) -> Self {
        Self::of(name, Probe::Shell(probe))
    }

    pub const fn python(name: &'static str, probe: &'static str) -> Self {
        Self::of(name, Probe::Python(probe))
    }

    const fn of(name: &'static str, probe: Probe) -> Self {
        Self {
            name,
            probe,
            works: Works::Says,
            twin: Twin::Plain,
            capability: None,
            ending: Ending::Itself,
            before: "",
            root_before: "",
            after: "",
            needs: "",
            refusal: None,
            words: &[],
        }
    }

    pub const fn seen_by(self, command: &'static str) -> Self {
        Self { works: Works::Host(command), ..self }
    }

    pub const fn seen_by_datagram(self) -> Self {
        Self { works: Works::Datagram, ..self }
    }

    pub const fn twin(self, twin: Twin) -> Self {
        Self { twin, ..self }
    }

    /// Root's twin, which needs a capability that root may lack in a container.
    pub const fn twin_with(self, capability: u8, twin: Twin) -> Self {
        Self { twin, capability: Some(capability), ..self }
    }

    pub const fn killed(self) -> Self {
        Self { ending: Ending::Killed, ..self }
    }

    pub const fn before(self, before: &'static str) -> Self {
        Self { before, ..self }
    }

    pub const fn root_before(self, root_before: &'static str) -> Self {
        Self { root_before, ..self }
    }

    pub const fn after(self, after: &'static str) -> Self {
        Self { after, ..self }
    }

    pub const fn needs(self, needs: &'static str) -> Self {
        Self { needs, ..self }
    }

    pub const fn or_refused(self, refusal: &'static str) -> Self {
        Self { refusal: Some(refusal), ..self }
    }

    pub const fn words(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }
}
