//! Sending a mail once, over SMTP, knowing at every moment whether it may have been sent.
//!
//! A mail is the server's from the moment that it answers the dot at the mail's end. Before the dot was sent, nothing has
//! happened; after it, and without an answer, nobody knows, and nobody can be asked. A connection is used once, for one
//! mail: a kept one breaks at the worst of moments.

use std::{
    io,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lettre::{
    Address,
    message::Mailbox,
    transport::smtp::{
        self,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailParameter},
        response::Severity,
    },
};
use tokio::time::timeout;

use super::{attempt::Attempt, server::MailServer};
use crate::{breaker, config::Secret, shipping::saga::Outcome};

/// For the goodbye after a mail was taken: only polite.
const GOODBYE: Duration = Duration::from_secs(1);

/// How mail is sent.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// The server.
    pub server: MailServer,
    /// Who we are there, if it asks.
    pub credentials: Option<(String, Secret)>,
    /// Whose mail it is.
    pub from: Mailbox,
    /// Certificates to trust beside the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// For resolving and connecting.
    pub connect_timeout: Duration,
    /// For everything, from the first look at the name to the answer to the mail.
    pub deadline: Duration,
}

impl MailSettings {
    /// The defaults, for mail of this sender by this server.
    #[must_use]
    pub fn new(server: MailServer, from: Mailbox) -> Self {
        Self {
            server,
            credentials: None,
            from,
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
        }
    }
}

/// Mail settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The file of certificates can't be read.
    #[error("the file of certificates for the mail server can't be read")]
    File(#[source] io::Error),
    /// TLS can't be set up.
    #[error("TLS to the mail server can't be set up")]
    Tls(#[source] smtp::Error),
}

/// How far a mail has come. The steps before are the server's business with us, those after with the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Connecting, TLS, greeting, login, sender.
    Session,
    /// Whether it takes mail for this recipient.
    Recipient,
    /// Everything after the mail's bytes began to leave.
    Content,
}

/// Why it stopped there.
struct Stop {
    stage: Stage,
    /// The server's reply code, if it said no.
    code: Option<u16>,
    problem: String,
}

/// Sends mail. Cheap to clone.
#[derive(Clone)]
pub(super) struct Mailer {
    settings: MailSettings,
    tls: Option<TlsParameters>,
    hello: ClientId,
}

impl Mailer {
    pub(super) fn new(settings: MailSettings) -> Result<Self, MailError> {
        let tls = match settings.server.is_encrypted() {
            true => Some(tls(&settings)?),
            false => None,
        };
        let hello = ClientId::Domain(settings.from.email.domain().to_owned());
        Ok(Self { settings, tls, hello })
    }

    pub(super) fn from(&self) -> &Mailbox {
        &self.settings.from
    }

    /// Sends the mail, once; what it says about the server's health comes beside what it means.
    pub(super) async fn send(&self, to: &Address, mail: &[u8]) -> (Attempt, breaker::Outcome) {
        let begun = AtomicBool::new(false);
        let limit = self.settings.deadline;
        match timeout(limit, self.talk(to, mail, &begun)).await {
            Ok(Ok((code, mut connection))) => {
                // Outside of the limit: the mail is taken, whatever comes of this.
                let _ = timeout(GOODBYE, connection.quit()).await;
                (Attempt::done(code), breaker::Outcome::Reachable)
            }
            Ok(Err(stop)) => judge(stop),
            Err(_) => {
                let stage = if begun.load(Ordering::Relaxed) { Stage::Content } else { Stage::Session };
                judge(Stop { stage, code: None, problem: format!("no answer within {limit:?}") })
            }
        }
    }

    async fn talk(
        &self,
        to: &Address,
        mail: &[u8],
        begun: &AtomicBool,
    ) -> Result<(u16, AsyncSmtpConnection), Stop> {
        let stop = |stage| move |error: smtp::Error| Stop::from(stage, &error);
        let mut connection = self.connect().await?;
        let from = self.settings.from.email.clone();
        let mut parameters = vec![];
        // What is not ASCII of the mail itself is encoded; an address can't be.
        if !(to.to_string().is_ascii() && from.to_string().is_ascii()) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let problem = "the mail server takes no addresses beyond ASCII".to_owned();
                return Err(Stop { stage: Stage::Recipient, code: Some(553), problem });
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        connection.command(Mail::new(Some(from), parameters)).await.map_err(stop(Stage::Session))?;
        connection.command(Rcpt::new(to.clone(), vec![])).await.map_err(stop(Stage::Recipient))?;
        connection.command(Data).await.map_err(stop(Stage::Recipient))?;
        begun.store(true, Ordering::Relaxed);
        let answer = connection.message(mail).await.map_err(stop(Stage::Content))?;
        let code = answer.code();
        if code.severity != Severity::PositiveCompletion {
            let problem = format!("the mail server answered {code} to the mail, which means nothing");
            return Err(Stop { stage: Stage::Content, code: None, problem });
        }
        Ok((code.into(), connection))
    }

    /// Connects and logs in as for a mail, and sends none.
    pub(super) async fn greet(&self) -> Result<(), String> {
        let limit = self.settings.deadline;
        let mut connection = match timeout(limit, self.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(stop)) => return Err(stop.problem),
            Err(_) => return Err(format!("the mail server: no answer within {limit:?}")),
        };
        let _ = timeout(GOODBYE, connection.quit()).await;
        Ok(())
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Stop> {
        let stop = |error: smtp::Error| Stop::from(Stage::Session, &error);
        let server = &self.settings.server;
        let implicit = self.tls.clone().filter(|_| server.is_implicit());
        let address = (server.host.as_str(), server.port);
        let limit = Some(self.settings.connect_timeout);
        let mut connection = AsyncSmtpConnection::connect_tokio1(address, limit, &self.hello, implicit, None)
            .await
            .map_err(stop)?;
        if let Some(tls) = self.tls.clone().filter(|_| !server.is_implicit()) {
            if !connection.server_info().supports_feature(Extension::StartTls) {
                let problem = "the mail server offers no STARTTLS, and mail goes in the clear only to this machine; \
                               if it speaks TLS from the first byte, smtps:// does";
                return Err(Stop { stage: Stage::Session, code: None, problem: problem.to_owned() });
            }
            connection.starttls(tls, &self.hello).await.map_err(stop)?;
        }
        if let Some((user, password)) = &self.settings.credentials {
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(stop)?;
        }
        Ok(connection)
    }
}

impl Stop {
    fn from(stage: Stage, error: &smtp::Error) -> Self {
        // It tells its causes itself.
        Self { stage, code: error.status().map(u16::from), problem: format!("the mail server: {error}") }
    }
}

fn tls(settings: &MailSettings) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(settings.server.host.clone());
    if let Some(path) = &settings.ca_file {
        let pem = std::fs::read(path).map_err(MailError::File)?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(MailError::Tls)?);
    }
    builder.build().map_err(MailError::Tls)
}

/// What it means that it stopped, for the mail and for the server's health.
///
/// A login that fails, or a sender that is not taken, is no fault of this mail's: were it final, a wrong password would
/// bury every mail there is.
fn judge(stop: Stop) -> (Attempt, breaker::Outcome) {
    let Stop { stage, code, problem } = stop;
    let is_final = code.is_some_and(|code| (500..600).contains(&code));
    let outcome = match (stage, code) {
        (Stage::Content, None) => Outcome::Lost,
        (Stage::Recipient | Stage::Content, _) if is_final => Outcome::Refused,
        _ => Outcome::Later,
    };
    // 421: it is closing. Any other reply about a recipient or a mail shows that the server is there.
    let health = match (stage, code) {
        (Stage::Recipient | Stage::Content, Some(code)) if code != 421 => breaker::Outcome::Reachable,
        _ => breaker::Outcome::Failed,
    };
    (Attempt { status: code, ..Attempt::failed(outcome, problem) }, health)
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(stage: Stage, code: Option<u16>) -> (Outcome, breaker::Outcome) {
        let (attempt, health) = judge(Stop { stage, code, problem: String::new() });
        assert_eq!(attempt.status, code);
        (attempt.outcome, health)
    }

    #[test]
    fn a_mail_is_lost_only_where_it_may_have_been_sent() {
        use breaker::Outcome::{Failed, Reachable};
        for (stage, code, expected) in [
            (Stage::Session, None, (Outcome::Later, Failed)),
            (Stage::Session, Some(421), (Outcome::Later, Failed)),
            (Stage::Session, Some(535), (Outcome::Later, Failed)),
            (Stage::Recipient, None, (Outcome::Later, Failed)),
            (Stage::Recipient, Some(421), (Outcome::Later, Failed)),
            (Stage::Recipient, Some(450), (Outcome::Later, Reachable)),
            (Stage::Recipient, Some(550), (Outcome::Refused, Reachable)),
            (Stage::Content, Some(451), (Outcome::Later, Reachable)),
            (Stage::Content, Some(554), (Outcome::Refused, Reachable)),
            (Stage::Content, None, (Outcome::Lost, Failed)),
        ] {
            assert_eq!(judged(stage, code), expected, "{stage:?} {code:?}");
        }
    }
}
