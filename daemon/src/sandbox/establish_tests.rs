//! Owns the tests of `establish`.

use std::sync::Mutex;

use super::*;
use crate::sandbox::samples::{machine, want};

/// A keeper that refuses these layers, each as long as a plan asks for it.
struct Refusing {
    layers: Vec<Layer>,
    launched: Mutex<Vec<LaunchPlan>>,
}

impl LaunchPort for Refusing {
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
