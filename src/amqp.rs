//! RabbitMQ, spoken through lapin: the only module that knows a type of that crate.
//!
//! A [`Session`] is one TCP connection and ends with its first error: nothing in here reconnects, redeclares or
//! sends again, because a hidden recovery would hide which messages are in doubt. A [`ConfirmChannel`] publishes
//! batches on it and says what became of every message. [`topology`] declares or checks the exchanges and the
//! dead-letter queue, [`probe`] finds out about them and changes nothing.
//!
//! | Trap, as measured on lapin 4.12.3 | Where it is met |
//! |---|---|
//! | a channel shared by tasks mixes up confirms | [`ConfirmChannel::publish`] takes `&mut self` |
//! | a return is handed to whichever confirm comes next | `ledger`, which settles whole batches |
//! | an abandoned publish is sent all the same, later | [`Session::kill`] before anybody calls it unknown |
//! | everything hangs while the broker blocks the connection | [`Session::blocked`], and a bound on every wait |
//! | an abandoned handshake keeps its thread for good | the socket is ours, and is shut down |
//! | `amqps://` is plaintext if no TLS feature is compiled in | `tests/amqp_session` sees it fail |
//! | URIs print passwords, short strings panic | [`Uri`], `encode` |

mod confirm_channel;
mod encode;
mod error;
mod failure;
mod flight;
mod ledger;
mod link;
pub mod probe;
mod queue;
mod session;
mod settings;
mod socket;
mod subscription;
pub mod topology;
mod uri;
pub mod version;

pub use confirm_channel::ConfirmChannel;
pub use error::AmqpError;
pub use queue::{Letter, QueueReader, Tag};
pub use session::Session;
pub use settings::AmqpSettings;
pub use subscription::{Incoming, QueueSpec, Subscription};
pub use topology::Topology;
pub use uri::{Uri, UriError};
