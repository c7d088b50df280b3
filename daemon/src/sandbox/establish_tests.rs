//! Owns the tests of `establish`.

use std::{
    fs,
    sync::{Mutex, mpsc},
    time::Duration,
};

use super::*;
use crate::sandbox::samples::{machine, want};

/// A keeper that refuses these layers, each as long as a plan asks for it.
struct Refusing {
    layers: Vec<Layer>,
    launched: Mutex<Vec<LaunchPlan>>,
}

impl LaunchPort for Refusing {
    fn noting(&self) -> impl Fn(&Residue) -> io::Result<()> + Send + 'static {
        |_| Ok(())
    }

    async fn launch(&self, plan: &LaunchPlan, _: Watched) -> Result<u64, LaunchFailure> {
        let mut launched = self.launched.lock().unwrap();
        launched.push(plan.clone());
        let asked = |layer: &&Layer| match layer {
            Layer::UserNamespace => plan.namespaces.user,
            Layer::NetNamespace => plan.namespaces.net,
            _ => true,
        };
        match self.layers.iter().find(asked) {
            Some(layer) => {
                Err(LaunchFailure::Layer { layer: *layer, errno: 1, attempted: "clone".to_owned() })
            }
            None => Ok(launched.len() as u64),
        }
    }

    async fn end(&self, _sandbox: u64) {}
}

fn run(layers: &[Layer], isolation: Isolation) -> (Result<Established, SandboxError>, usize) {
    let home = tempfile::tempdir().unwrap();
    let mut wish = want("workspace-write");
    wish.isolation = Some(isolation);
    wish.workspace = std::fs::canonicalize(home.path()).unwrap().join("app");
    std::fs::create_dir(&wish.workspace).unwrap();
    let port = Refusing { layers: layers.to_vec(), launched: Mutex::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let result = runtime.block_on(establish(&port, &wish, &machine()));
    if let Ok(established) = &result {
        established.residue.remove();
    }
    let launches = port.launched.lock().unwrap().len();
    (result, launches)
}

/// A keeper that launches everything, and writes down nothing before it is told to.
struct Slow {
    noted: mpsc::Sender<Residue>,
    told: Mutex<Option<mpsc::Receiver<()>>>,
}

impl LaunchPort for Slow {
    fn noting(&self) -> impl Fn(&Residue) -> io::Result<()> + Send + 'static {
        let (noted, told) = (self.noted.clone(), self.told.lock().unwrap().take().unwrap());
        move |residue| {
            told.recv_timeout(Duration::from_secs(60)).map_err(io::Error::other)?;
            noted.send(residue.clone()).map_err(io::Error::other)
        }
    }

    async fn launch(&self, _: &LaunchPlan, _: Watched) -> Result<u64, LaunchFailure> {
        Ok(1)
    }

    async fn end(&self, _sandbox: u64) {}
}

#[tokio::test]
async fn others_go_on_while_a_plan_is_made_and_what_it_makes_is_written_down_before() {
    let place = tempfile::tempdir().unwrap();
    let workspace = fs::canonicalize(place.path()).unwrap();
    let git = workspace.join(".git");
    fs::create_dir_all(git.join("objects")).unwrap();
    fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    let wish = Want { workspace, ..want("workspace-write") };
    let ((noted, about_to_be), (tell, told)) = (mpsc::channel(), mpsc::channel());
    let port = Slow { noted, told: Mutex::new(Some(told)) };
    let machine = machine();
    // On one thread: whoever holds it keeps the other from going on.
    let other = async move {
        let before = git.join("commondir").exists();
        tell.send(()).unwrap();
        before
    };
    let (made, was_there) = tokio::join!(establish(&port, &wish, &machine), other);
    let made = made.unwrap().residue;
    assert!(!was_there && made.placeholders.iter().all(|path| path.exists()));
    assert_eq!(about_to_be.recv().unwrap().placeholders, made.placeholders);
    assert_eq!(made.placeholders.len(), 4);
    made.remove();
}

/// A keeper under whose first launches a file is moved.
struct Moving {
    times: u64,
    launched: Mutex<u64>,
}

impl LaunchPort for Moving {
    fn noting(&self) -> impl Fn(&Residue) -> io::Result<()> + Send + 'static {
        |_| Ok(())
    }

    async fn launch(&self, _: &LaunchPlan, _: Watched) -> Result<u64, LaunchFailure> {
        let mut launched = self.launched.lock().unwrap();
        *launched += 1;
        let attempted = "pinning /srv/app/.git/commondir".to_owned();
        let errno = nix::libc::ENOENT;
        let failed = LaunchFailure::Layer { layer: Layer::Mounts, errno, attempted };
        if *launched > self.times { Ok(*launched) } else { Err(failed) }
    }

    async fn end(&self, _sandbox: u64) {}
}

#[test]
fn a_file_that_was_moved_is_looked_for_again_and_never_done_without() {
    let place = tempfile::tempdir().unwrap();
    let workspace = fs::canonicalize(place.path()).unwrap();
    let wish = Want { workspace, isolation: Some(Isolation::BestEffort), ..want("workspace-write") };
    let check = |times, launches, is_made| {
        let port = Moving { times, launched: Mutex::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let result = runtime.block_on(establish(&port, &wish, &machine()));
        assert_eq!(*port.launched.lock().unwrap(), launches);
        match result {
            Ok(made) => assert!(is_made && made.policy.weakenings.is_empty(), "{:?}", made.policy.weakenings),
            Err(error) => {
                let (what, next_step) = error.told();
                assert!(!is_made && what.contains("commondir: No such file or directory (ENOENT)"), "{what}");
                assert_eq!(next_step, "run it again, once nothing moves it any more");
            }
        }
    };
    check(1, 2, true);
    check(2, 2, false);
}

/// What is told of a hook of this name that has a second one.
fn told_of_linked_hook(name: &str) -> (String, String) {
    let place = tempfile::tempdir().unwrap();
    let workspace = fs::canonicalize(place.path()).unwrap();
    let hooks = workspace.join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    fs::write(workspace.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::write(hooks.join(name), "").unwrap();
    fs::hard_link(hooks.join(name), workspace.join("second")).unwrap();
    let wish = Want { workspace, ..want("workspace-write") };
    let port = Refusing { layers: Vec::new(), launched: Mutex::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(establish(&port, &wish, &machine())).unwrap_err().told()
}

#[test]
fn no_name_that_a_command_chose_is_put_into_a_command_for_people() {
    let (what, next_step) = told_of_linked_hook("pre-commit");
    assert!(what.contains("hooks/pre-commit cannot be protected: it has a second name"), "{what}");
    assert!(next_step.contains("cp -p '/") && next_step.contains("pre-commit.own'"), "{next_step}");
    let (what, next_step) = told_of_linked_hook("pre'; touch PWNED; '\n");
    assert!(what.contains("pre'; touch PWNED; '\\n cannot be protected"), "{what}");
    assert_eq!(next_step, "make it a file of its own: copy it, and move the copy over it");
}

#[test]
fn what_works_is_launched_once_and_nothing_is_weak() {
    let (result, launches) = run(&[], Isolation::Strict);
    assert_eq!((result.unwrap().policy.weakenings, launches), (Vec::new(), 1));
}

#[test]
fn strict_stops_at_the_first_missing_layer_and_names_it() {
    let (result, launches) = run(&[Layer::NetNamespace], Isolation::Strict);
    let message = result.unwrap_err().to_string();
    assert!(message.contains("the network namespace") && message.contains("EPERM"), "{message}");
    assert_eq!(launches, 1);
}

#[test]
fn best_effort_drops_one_layer_at_a_time_until_it_launches() {
    let (result, launches) = run(&[Layer::NetNamespace, Layer::UserNamespace], Isolation::BestEffort);
    let established = result.unwrap();
    let lost: Vec<Layer> = established.policy.weakenings.iter().map(|weakening| weakening.layer).collect();
    assert_eq!(lost[..2], [Layer::NetNamespace, Layer::UserNamespace]);
    assert_eq!(launches, 3);
    assert!(established.residue.stand_in.is_some());
}

#[test]
fn seccomp_is_never_done_without() {
    let (result, launches) = run(&[Layer::Seccomp], Isolation::BestEffort);
    assert!(matches!(result, Err(SandboxError::Launch { layer: Layer::Seccomp, .. })));
    assert_eq!(launches, 1);
}
