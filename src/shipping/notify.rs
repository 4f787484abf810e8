//! Telling the parties of an order: by mail, and by webhooks after Standard Webhooks. `docs/webhooks.md` is for those who
//! receive them.
//!
//! [`message`] renders, once; the bytes are stored before the first attempt. An attempt is one call of [`mail`] or
//! [`webhook`], through the breaker of its destination; [`schedule`] says when the next one is. What an attempt that
//! nobody heard the end of means differs: a webhook's receiver knows it by its id, so it is sent again; a mail may have
//! been sent, and rests until a person says so. Nothing that fails here undoes anything of the shipment.

pub mod attempt;
pub mod gates;
mod handler;
pub mod mail;
pub mod message;
pub mod reach;
mod rows;
pub mod schedule;
pub mod server;
pub mod signing;
pub mod ssrf;
pub mod webhook;

use std::time::Duration;

pub use handler::{Work, by_hand};

use crate::{
    breaker::{BreakerSettings, BreakerState},
    consumer::ConsumerSettings,
    http::{gate::Gate, transport::TlsError},
    retry::RetryPolicy,
    shipping::{saga::Limits, store::Store},
};
use gates::Gates;
use mail::{MailError, MailSettings, Mailer};
use schedule::Schedule;
use webhook::{Caller, WebhookSettings};

/// Endpoints whose breakers are remembered.
const ENDPOINTS: usize = 1024;
/// What an attempt takes beside the call itself.
const MARGIN: Duration = Duration::from_secs(5);

/// How parties are told.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// The schema that relay lives in.
    pub relay_schema: String,
    /// How mail is sent; without, a party that is told by mail is not told, and its entry says so.
    pub mail: Option<MailSettings>,
    /// How webhooks are called.
    pub webhooks: WebhookSettings,
    /// When either is tried again.
    pub schedule: Schedule,
}

/// Settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The mail server's.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The webhooks'.
    #[error(transparent)]
    Webhooks(#[from] TlsError),
}

/// The handler of the work orders `shipment.notify`. Cheap to clone; all clones share the breakers.
#[derive(Debug, Clone)]
pub struct Notify {
    store: Store,
    mailer: Option<Mailer>,
    mail_gate: Gate,
    caller: Caller,
    gates: Gates,
    schedule: Schedule,
    give_up_after: Duration,
    deadline: Duration,
}

impl Notify {
    /// A handler.
    ///
    /// # Errors
    /// When a file of certificates can't be read.
    pub fn new(settings: NotifySettings) -> Result<Self, NotifyError> {
        let NotifySettings { relay_schema, mail, webhooks, schedule } = settings;
        let attempts = i32::from(schedule.attempts());
        let longest = mail.as_ref().map_or(Duration::ZERO, |mail| mail.deadline);
        // One probe at a time, and longer pauses than for a third party of our own choice.
        let strangers = BreakerSettings {
            open_for: Duration::from_secs(5),
            open_cap: Duration::from_secs(5 * 60),
            probes: 1,
            ..BreakerSettings::default()
        };
        Ok(Self {
            // The schedule is the limit, of telling and of correcting.
            store: Store::new(&relay_schema, Limits { attempts, checks: attempts }),
            mailer: mail.map(Mailer::new).transpose()?,
            mail_gate: Gate::new(BreakerSettings { probes: 1, ..BreakerSettings::default() }),
            caller: Caller::new(&webhooks)?,
            gates: Gates::new(strangers, webhooks.each, ENDPOINTS),
            schedule,
            give_up_after: webhooks.give_up_after,
            deadline: longest.max(webhooks.deadline) + MARGIN,
        })
    }

    /// Gives a consumer that runs this handler what it needs: time for an attempt, and the schedule's patience. The
    /// ledger counts attempts; the inbox only has to count no lower.
    pub fn adjust(&self, settings: &mut ConsumerSettings) {
        settings.deadline = self.deadline;
        settings.retry = RetryPolicy {
            max_attempts: u32::from(self.schedule.attempts()) + 8,
            floor: Duration::from_secs(1),
            cap: Duration::from_secs(2),
        };
    }

    /// The mail server's breaker, for `relay_breaker_state{target="mail"}`.
    #[must_use]
    pub fn mail_breaker(&self) -> BreakerState {
        self.mail_gate.state()
    }

    /// How many endpoints' breakers are not closed, for the status.
    #[must_use]
    pub fn troubled_endpoints(&self) -> usize {
        self.gates.troubled()
    }
}
