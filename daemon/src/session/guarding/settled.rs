//! A look at a guard's place, once whoever made what lies there is done with it.
//!
//! The kernel tells of a file before git's own hand has closed it. Who still writes a moment later is somebody else, and what was written
//! meanwhile is judged all the same.

use std::{io, time::Duration};

use tokio::{task::block_in_place, time::sleep};

use crate::sandbox::{
    guards::{Guard, Look},
    watch::Watch,
};

/// Looked at that often, with that much time between.
const LOOKS: u32 = 25;
const BETWEEN: Duration = Duration::from_millis(4);

/// What lies there when nobody writes it any more, or after all that time.
pub(super) async fn look(watch: &Watch, guard: &Guard, was_open: bool) -> io::Result<Look> {
    let mut look = block_in_place(|| watch.look(guard, was_open))?;
    for _ in 0..LOOKS {
        if !look.held_open {
            break;
        }
        sleep(BETWEEN).await;
        look = block_in_place(|| watch.look(guard, was_open))?;
    }
    Ok(look)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        launch::plan::{Access, MountStep},
        sandbox::{
            guards::{Reading, Ward},
            placeholder::Placeholder,
        },
    };

    #[tokio::test(flavor = "multi_thread")]
    async fn who_is_about_to_close_a_file_is_waited_for_and_who_keeps_it_is_told() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("commondir");
        fs::write(&target, "../..\n").unwrap();
        let writer = fs::OpenOptions::new().write(true).open(&target).unwrap();
        let step = MountStep::Pin { target, access: Access::Read };
        let (ward, placeholder, known) = (Ward::Pointer, Placeholder::None, Reading::Nothing);
        let guard = Guard { step, ward, placeholder, exposed: true, known };
        let watch = Watch::arm(std::slice::from_ref(&guard)).unwrap();
        assert!(look(&watch, &guard, true).await.unwrap().held_open);
        // The first look comes before the end of the writer.
        let (settled, ()) = tokio::join!(look(&watch, &guard, true), async { drop(writer) });
        assert!(!settled.unwrap().held_open);
    }
}
