//! What can become of a published message.

use crate::pause::PauseId;

/// The fate of one message, known only after every confirm of its batch has been awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The broker confirmed this very message and did not return it.
    Confirmed,
    /// No queue was bound for it: the broker returned it (and then acknowledged it, as AMQP has it).
    Returned {
        /// The reply code of `basic.return`, 312 for "no route".
        code: u16,
        /// The reply text.
        text: String,
    },
    /// The broker answered `basic.nack`: a queue refused it or failed.
    Nacked,
    /// It was alone on its channel, and the broker closed that channel or the connection because of it.
    Refused {
        /// The reply code of the close, such as 404 or 406.
        code: u16,
        /// The reply text.
        text: String,
    },
    /// Nobody knows: the confirm was lost with the channel, or the message was never sent.
    Unknown,
    /// It was not sent: an operator paused what it is about.
    Paused(PauseId),
}

/// What became of a batch, and of the channel that carried it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchReport {
    /// One outcome for each message, in the batch's order.
    pub outcomes: Vec<Outcome>,
    /// Why the channel can carry no further batch, if it can't.
    pub failure: Option<ChannelFailure>,
}

/// Why a channel ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelFailure {
    /// The broker closed the channel alone, with a reply code and text (404, 403, 406, ...).
    ChannelClosed {
        /// AMQP reply code.
        code: u16,
        /// Reply text.
        text: String,
    },
    /// The broker closed the whole connection with a reply code and text (320, 501, 530, ...).
    ConnectionClosed {
        /// AMQP reply code.
        code: u16,
        /// Reply text.
        text: String,
    },
    /// The connection is gone, or never answered within the confirm timeout and was shut down.
    ConnectionLost {
        /// What was seen.
        reason: String,
    },
}
