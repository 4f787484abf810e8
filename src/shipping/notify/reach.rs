//! Whether parties could be told: how far a mail or a webhook would get, without sending one.

use futures_util::{StreamExt, stream};

use super::{
    NotifySettings,
    mail::{MailSettings, Mailer},
    webhook::Caller,
};
use crate::{
    cause::chain,
    operator::finding::{Report, Verdict},
    shipping::store::Receiver,
};

/// Endpoints that are connected to at a time.
const AT_ONCE: usize = 8;

/// Whether mail can be sent.
pub const MAIL: &str = "notify.mail";
/// Whether webhooks can be.
pub const WEBHOOKS: &str = "notify.webhooks";

/// Greets the mail server as a mail would: connection, TLS, login.
pub async fn mail(report: &mut Report, settings: &NotifySettings) {
    let Some(settings) = settings.mail.clone() else {
        return report.add(MAIL, Verdict::Skipped, "no --mail-url: nobody is told by mail", None);
    };
    match greet(settings.clone()).await {
        Ok(()) => report.add(MAIL, Verdict::Ok, format!("{} takes mail", settings.server), None),
        Err(problem) => {
            let cure =
                "check --mail-url, --mail-user, its password and --mail-ca-file; the server's log says more";
            report.add(MAIL, Verdict::Failure, problem, Some(cure.to_owned()));
        }
    }
}

async fn greet(settings: MailSettings) -> Result<(), String> {
    let mailer = Mailer::new(settings).map_err(|error| chain(&error))?;
    mailer.greet().await
}

/// Connects to each endpoint as a webhook would, by the same rules, and sends nothing.
pub async fn webhooks(report: &mut Report, settings: &NotifySettings, receivers: Vec<Receiver>) {
    let caller = match Caller::new(&settings.webhooks) {
        Ok(caller) => caller,
        Err(error) => {
            let cure = "name a PEM file in --webhook-ca-file".to_owned();
            return report.add(WEBHOOKS, Verdict::Failure, chain(&error), Some(cure));
        }
    };
    let count = receivers.len();
    let tried = stream::iter(receivers).map(|receiver| {
        let caller = caller.clone();
        async move {
            let reached = caller.reach(&receiver.url).await;
            reached.err().map(|problem| (receiver, problem))
        }
    });
    let mut unreachable: Vec<(Receiver, String)> =
        tried.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    unreachable.sort_by_key(|(receiver, _)| receiver.endpoint_id);
    let reached = count - unreachable.len();
    if unreachable.is_empty() || reached > 0 {
        report.add(WEBHOOKS, Verdict::Ok, format!("{reached} endpoints can be reached"), None);
    }
    for (Receiver { endpoint_id, caller, .. }, problem) in unreachable {
        let what = format!("endpoint {endpoint_id} of {caller:?}: {problem}");
        let cure = "its owner mends it, or registers another; SHIPMENTS_WEBHOOK_ALLOW allows networks that are not public";
        report.add(WEBHOOKS, Verdict::Warning, what, Some(cure.to_owned()));
    }
}
