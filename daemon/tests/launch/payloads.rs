//! Payloads in a sandbox with every layer: the kernel decides what they may touch.

use std::{
    fs::{self, File},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use dunlin_daemon::{
    launch::{
        control::{CANCEL, Frame, PAYLOAD_DONE},
        payload::{Answer, Kind},
    },
    patch::{Limits, Outcome, Request},
    sys::memfd,
};
use nix::{
    fcntl::{Flock, FlockArg},
    libc,
};

use crate::{
    keeper::{Sandbox, Zygote},
    layers,
};

crate::tests![
    a_payload_answers_through_its_memfd,
    a_patch_is_applied_and_reverted_under_the_policy,
    a_patch_cannot_leave_what_the_policy_allows,
    a_payload_can_be_cancelled,
];

fn with_workspace(test: impl FnOnce(&Sandbox, &Path)) {
    let workspace = layers::workspace();
    let zygote = Zygote::start();
    let sandbox = zygote.launch(&layers::full(workspace.path()));
    test(&sandbox, workspace.path());
    sandbox.end();
}

fn answer(sandbox: &Sandbox, kind: Kind, request: &[u8]) -> Vec<u8> {
    let result = sandbox.payload(4, kind as i32, request);
    assert_eq!(sandbox.expect(PAYLOAD_DONE, 4).frame.code, 0);
    let bytes = memfd::read_all(result.as_fd(), 1 << 20).unwrap();
    Answer::parse(&bytes).unwrap().answer.expect("an answer").to_vec()
}

fn request(text: &str, workspace: &Path) -> Vec<u8> {
    let request = Request {
        text: dunlin_daemon::patch::Bytes::from(Vec::from(text)),
        cwd: workspace.into(),
        workspace: workspace.into(),
        create_missing_dirs: true,
        dry_run: false,
        umask: 0o022,
        limits: Limits { lock_wait_ms: 600_000, ..Limits::default() },
    };
    postcard::to_stdvec(&request).unwrap()
}

fn add(path: &str) -> String {
    format!("*** Begin Patch\n*** Add File: {path}\n+hello\n*** End Patch\n")
}

fn a_payload_answers_through_its_memfd() {
    with_workspace(|sandbox, _| {
        assert_eq!(answer(sandbox, Kind::Echo, b"hello"), b"hello");
        sandbox.payload(5, 99, b"");
        assert_eq!(sandbox.expect(PAYLOAD_DONE, 5).frame.code, 125 << 8, "an unknown kind is refused");
        sandbox.payload(6, Kind::PatchApply as i32, b"no request");
        assert_eq!(sandbox.expect(PAYLOAD_DONE, 6).frame.code, 1 << 8, "a malformed one gets no answer");
    });
}

fn a_patch_is_applied_and_reverted_under_the_policy() {
    with_workspace(|sandbox, workspace| {
        let applied = answer(sandbox, Kind::PatchApply, &request(&add("new"), workspace));
        let outcome: Outcome = postcard::from_bytes(&applied).unwrap();
        let Outcome::Applied { undo, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(fs::read_to_string(workspace.join("new")).unwrap(), "hello\n");
        answer(sandbox, Kind::PatchRevert, &postcard::to_stdvec(&undo).unwrap());
        assert!(!workspace.join("new").exists());
    });
}

fn a_patch_cannot_leave_what_the_policy_allows() {
    with_workspace(|sandbox, workspace| {
        std::os::unix::fs::symlink("/usr", workspace.join("link")).unwrap();
        for place in ["/usr/dunlin-probe", "link/dunlin-probe"] {
            let bytes = answer(sandbox, Kind::PatchApply, &request(&add(place), workspace));
            let outcome: Outcome = postcard::from_bytes(&bytes).unwrap();
            assert!(matches!(outcome, Outcome::Failed { .. }), "{place}: {outcome:?}");
        }
        assert!(!Path::new("/usr/dunlin-probe").exists());
    });
}

fn a_payload_can_be_cancelled() {
    with_workspace(|sandbox, workspace| {
        // A patch waits for whoever holds the directory.
        let held = Flock::lock(File::open(workspace).unwrap(), FlockArg::LockExclusive).unwrap();
        let result: OwnedFd = sandbox.payload(4, Kind::PatchApply as i32, &request(&add("new"), workspace));
        sandbox.send(Frame::new(CANCEL, 4), &[]);
        assert_eq!(sandbox.expect(PAYLOAD_DONE, 4).frame.code, libc::SIGKILL);
        let bytes = memfd::read_all(result.as_fd(), 1 << 20).unwrap();
        assert_eq!(Answer::parse(&bytes).unwrap().answer, None);
        drop(held);
        assert!(!workspace.join("new").exists());
    });
}
