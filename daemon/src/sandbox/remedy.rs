//! Owns what to tell people about a layer that is missing: its name, the likely cause, the one command that mends it.
//!
//! Invariant: the same words in errors, weakenings and doctor, because all three ask here. Pure.

use nix::errno::Errno;

use super::{Machine, plain::plain};
use crate::launch::plan::Layer;

/// What a layer is called.
pub fn name(layer: Layer) -> &'static str {
    match layer {
        Layer::Plan => "the plan",
        Layer::Limits => "resource limits",
        Layer::Cgroup => "the cgroup",
        Layer::UserNamespace => "the user namespace",
        Layer::IdMap => "the uid map",
        Layer::MountNamespace => "the mount namespace",
        Layer::PidNamespace => "the pid namespace",
        Layer::NetNamespace => "the network namespace",
        Layer::IpcNamespace => "the ipc namespace",
        Layer::UtsNamespace => "the uts namespace",
        Layer::CgroupNamespace => "the cgroup namespace",
        Layer::Init => "init",
        Layer::Loopback => "the loopback interface",
        Layer::Listeners => "the proxy's listeners",
        Layer::Mounts => "the mounts",
        Layer::Proc => "/proc",
        Layer::Pivot => "pivot_root",
        Layer::Capabilities => "dropping capabilities",
        Layer::NoNewPrivileges => "no_new_privs",
        Layer::Undumpable => "the undumpable init",
        Layer::Landlock => "Landlock",
        Layer::Seccomp => "seccomp",
        Layer::Overlay => "the overlays",
    }
}

/// What was attempted and what the kernel said, if it said anything.
pub fn cause(errno: i32, attempted: &str) -> String {
    let attempted = plain(attempted);
    if errno == 0 {
        return attempted;
    }
    let errno = Errno::from_raw(errno);
    format!("{attempted}: {} ({errno:?})", errno.desc())
}

/// Whether a layer failed because a file of the plan lay there no more: somebody moved it, perhaps to be let out of it. The kernel lacks
/// nothing then. What init does with no file of the plan, it names without a path.
pub fn has_moved(layer: Layer, errno: i32, attempted: &str) -> bool {
    let opens_files = matches!(layer, Layer::Mounts | Layer::Overlay | Layer::Landlock);
    let is_elsewhere = [Errno::ENOENT, Errno::ELOOP, Errno::ENOTDIR].contains(&Errno::from_raw(errno));
    opens_files && is_elsewhere && attempted.contains('/')
}

/// The next step for somebody who wants this layer here.
pub fn mend(layer: Layer, machine: &Machine) -> String {
    match layer {
        Layer::UserNamespace
        | Layer::IdMap
        | Layer::MountNamespace
        | Layer::PidNamespace
        | Layer::NetNamespace
        | Layer::IpcNamespace
        | Layer::UtsNamespace
        | Layer::CgroupNamespace
        | Layer::Loopback
        | Layer::Mounts
        | Layer::Overlay
        | Layer::Pivot => namespaces(machine),
        Layer::Proc => proc(machine),
        Layer::Landlock => landlock(machine),
        Layer::Cgroup => cgroup(machine),
        Layer::Seccomp => "use a kernel with CONFIG_SECCOMP_FILTER".to_owned(),
        Layer::Plan
        | Layer::Limits
        | Layer::Init
        | Layer::Listeners
        | Layer::Capabilities
        | Layer::NoNewPrivileges
        | Layer::Undumpable => "see `dunlin daemon logs`".to_owned(),
    }
}

fn namespaces(machine: &Machine) -> String {
    let switches = &machine.user_namespaces;
    let container = machine.container.as_deref();
    if switches.none_allowed {
        "run `sudo sysctl -w user.max_user_namespaces=15000`".to_owned()
    } else if switches.clone_forbidden && machine.uid != 0 {
        "run `sudo sysctl -w kernel.unprivileged_userns_clone=1`".to_owned()
    } else if switches.apparmor_restricted && machine.uid != 0 {
        "install the AppArmor profile that `dunlin doctor` prints".to_owned()
    } else if let Some(container) = container {
        format!(
            "start the {container} container with `--security-opt seccomp=unconfined {}{}`",
            unmasked(container),
            if machine.apparmor_confined { " --security-opt apparmor=unconfined" } else { "" }
        )
    } else {
        "let this user make namespaces (CONFIG_USER_NS, and no seccomp filter or security module in the way)"
            .to_owned()
    }
}

fn proc(machine: &Machine) -> String {
    match machine.container.as_deref() {
        Some(container) => format!("start the {container} container with `{}`", unmasked(container)),
        None => "unmount what hides parts of /proc (`findmnt -R /proc` lists it)".to_owned(),
    }
}

/// The flag that lets a container mount a /proc of its own.
fn unmasked(container: &str) -> &'static str {
    if container == "podman" { "--security-opt unmask=ALL" } else { "--security-opt systempaths=unconfined" }
}

fn landlock(machine: &Machine) -> String {
    if machine.landlock_abi == 0 {
        "use Linux 6.2 or later and boot with landlock in `lsm=`".to_owned()
    } else {
        format!("use a newer kernel than {}", machine.release)
    }
}

fn cgroup(machine: &Machine) -> String {
    let container = machine.container.as_deref().filter(|name| ["docker", "podman"].contains(name));
    match (machine.uid, container) {
        (0, Some(container)) => format!(
            "start the daemon as an ordinary user of the {container} container (`--user`), whose processes the kernel counts itself, or give \
             the container a cgroup that it may write"
        ),
        (0, None) => {
            "make the pids controller writable (cgroup v1), or start the daemon in a delegated cgroup v2"
                .to_owned()
        }
        _ => {
            "start the daemon with `systemd-run --user -p Delegate=yes dunlind serve --delegated`".to_owned()
        }
    }
}

/// The AppArmor profile that allows user namespaces to this program and to nothing else.
pub fn apparmor_profile(program: &str) -> String {
    format!(
        "abi <abi/4.0>,\ninclude <tunables/global>\n\nprofile dunlind {program} flags=(unconfined) {{\n  userns,\n  \
         include if exists <local/dunlind>\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{probe::UserNamespaces, samples::machine};

    fn check(machine: &Machine, layer: Layer, part: &str) {
        let text = mend(layer, machine);
        assert!(text.contains(part), "{layer:?}: {text}");
    }

    #[test]
    fn the_switch_that_is_off_is_the_one_that_is_named() {
        let with = |user_namespaces| Machine { user_namespaces, ..machine() };
        let none = UserNamespaces { none_allowed: true, ..UserNamespaces::default() };
        check(&with(none), Layer::UserNamespace, "max_user_namespaces");
        let debian = UserNamespaces { clone_forbidden: true, ..UserNamespaces::default() };
        check(&with(debian), Layer::IdMap, "unprivileged_userns_clone=1");
        let ubuntu = UserNamespaces { apparmor_restricted: true, ..UserNamespaces::default() };
        check(&with(ubuntu), Layer::Mounts, "AppArmor");
        let docker = Machine { container: Some("docker".to_owned()), ..machine() };
        check(&docker, Layer::UserNamespace, "seccomp=unconfined");
        check(&docker, Layer::Proc, "systempaths=unconfined");
        check(&machine(), Layer::Proc, "findmnt");
    }
}
