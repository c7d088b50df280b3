//! Runs looks at file systems beside the worker's own threads: one of a server or of a program may never answer, and then nobody but
//! who asked for it waits.
//!
//! Invariant: bounded in number and, for who waits, in time. A look that comes to its end after all is dropped, and what it made
//! removes itself: results of looks that make something own it.

use std::{panic, path::Path, time::Duration};

use tokio::{
    runtime::Handle,
    sync::Semaphore,
    task::{block_in_place, spawn_blocking},
    time::timeout,
};

use super::SandboxError;

/// A look takes some milliseconds; one at a huge repository on a slow disk, seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at once, those included that nobody waits for any more: half of the threads that tokio lets block, so that the others,
/// which write output to disk, always find one.
const LOOKS_MAX: usize = 256;

static LOOKS: Semaphore = Semaphore::const_new(LOOKS_MAX);

/// Does something that asks file systems, on a thread of its own. `place` is what an error names.
pub async fn aside<T: Send + 'static>(
    place: &Path,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SandboxError> {
    within(PATIENCE, place, look).await
}

/// Looks and waits in turn, on a thread that others leave meanwhile: for who has to go on with what is theirs.
pub fn in_place<T>(looking: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(looking))
}

async fn within<T: Send + 'static>(
    patience: Duration,
    place: &Path,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SandboxError> {
    let looking = async {
        // Nobody closes it.
        let permit = LOOKS.acquire().await.ok();
        let looked = spawn_blocking(move || {
            let _permit = permit;
            look()
        });
        looked.await.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()))
    };
    let silent = |_| SandboxError::Silent { place: place.to_path_buf(), waited: patience };
    timeout(patience, looking).await.map_err(silent)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Says so when it is dropped.
    struct Made(mpsc::Sender<&'static str>);

    impl Drop for Made {
        fn drop(&mut self) {
            let _ = self.0.send("removed");
        }
    }

    #[tokio::test]
    async fn others_go_on_while_a_file_system_does_not_answer() {
        let (answer, answered) = mpsc::channel();
        let look = aside(Path::new("/slow"), move || answered.recv_timeout(PATIENCE).is_ok());
        let other = async move { answer.send(()).is_ok() };
        let (looked, went_on) = tokio::join!(look, other);
        assert!(looked.unwrap() && went_on);
    }

    #[tokio::test]
    async fn what_comes_too_late_is_told_as_silence_and_removed_again() {
        let (answer, answered) = mpsc::channel::<()>();
        let (made, heard) = mpsc::channel();
        let look = move || (answered.recv_timeout(PATIENCE), Made(made));
        let looked = within(Duration::from_millis(1), Path::new("/srv/app"), look).await;
        let message = looked.map(drop).unwrap_err().to_string();
        assert!(message.contains("/srv/app") && message.contains("does not answer"), "{message}");
        assert!(heard.try_recv().is_err(), "it is not made yet");
        answer.send(()).unwrap();
        assert_eq!(heard.recv_timeout(PATIENCE), Ok("removed"));
    }
}
