//! What a person types while a turn runs, on its way into the turn.

use tokio::sync::mpsc;

/// Something typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// For the model, with its next request.
    Say(String),
    /// The last of that, back.
    TakeBack,
}

/// The person's end.
#[derive(Debug, Clone)]
pub struct Steering {
    sender: mpsc::UnboundedSender<Typed>,
}

/// The turn's end.
#[derive(Debug)]
pub struct Inbox {
    /// Unbounded, for it holds what one person types by hand.
    receiver: mpsc::UnboundedReceiver<Typed>,
}

/// A way into a turn.
pub fn steering() -> (Steering, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Steering { sender }, Inbox { receiver })
}

impl Steering {
    pub fn say(&self, text: String) {
        // A turn that is over has given its inbox up, with all that is in it.
        let _ = self.sender.send(Typed::Say(text));
    }

    pub fn take_back(&self) {
        let _ = self.sender.send(Typed::TakeBack);
    }
}

impl Inbox {
    /// One into which nobody types.
    pub fn closed() -> Inbox {
        steering().1
    }

    /// The next thing typed; never when nobody can type.
    pub async fn next(&mut self) -> Typed {
        match self.receiver.recv().await {
            Some(typed) => typed,
            None => std::future::pending().await,
        }
    }

    /// What has been typed by now and was not taken out.
    pub fn ready(&mut self) -> Option<Typed> {
        self.receiver.try_recv().ok()
    }
}
