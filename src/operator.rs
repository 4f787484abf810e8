//! What operators do: look at dead rows and the state of things, replay, discard, edit, pause, skip, deal with letters
//! in the dead-letter queue, and remove what is old.
//!
//! For relay's own dead letters the outbox row is the truth; the copy in the queue is a notice. For letters that others
//! dead-lettered the queue is the truth. So the first are replayed in the database and the second on the broker.

pub mod act;
pub mod audit;
pub mod dead;
pub mod doctor;
pub mod edit;
pub mod enqueue;
pub mod finding;
pub mod grants;
pub mod inbox;
pub mod keys;
pub mod letters;
pub mod pauses;
pub mod prune;
pub mod rate;
pub mod sample;
pub mod status;
pub mod trace;
pub mod when;
