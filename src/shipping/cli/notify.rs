//! What a command that tells parties is told.

use std::path::PathBuf;

use clap::Args;
use lettre::message::Mailbox;

use super::servers::{given, missing, secret, unusable};
use crate::{
    cli::Failure,
    config::Secret,
    shipping::notify::{
        NotifySettings, mail::MailSettings, schedule::Schedule, server::MailServer, ssrf::Network,
        webhook::WebhookSettings,
    },
};

/// Mail and webhooks.
#[derive(Debug, Clone, Args)]
pub struct NotifyArgs {
    /// The mail server: smtps://HOST or smtps://HOST:PORT; smtp:// for STARTTLS, in the clear only to this machine.
    /// Without, nobody is told by mail
    #[arg(long, value_name = "URL", env = "SHIPMENTS_MAIL_URL")]
    mail_url: Option<MailServer>,
    /// Whose mail it is, such as "Shop <shop@example.com>"
    #[arg(long, value_name = "ADDRESS", env = "SHIPMENTS_MAIL_FROM", value_parser = mailbox)]
    mail_from: Option<Mailbox>,
    /// Who to log in as at the mail server
    #[arg(long, value_name = "NAME", env = "SHIPMENTS_MAIL_USER")]
    mail_user: Option<String>,
    /// The password for it
    #[arg(long, value_name = "PASSWORD", env = "SHIPMENTS_MAIL_PASSWORD", hide_env_values = true, value_parser = secret)]
    mail_password: Option<Secret>,
    /// A file that holds it
    #[arg(long, value_name = "FILE", env = "SHIPMENTS_MAIL_PASSWORD_FILE", conflicts_with = "mail_password")]
    mail_password_file: Option<PathBuf>,
    /// A PEM file with further certificate authorities for the mail server
    #[arg(long, value_name = "FILE", env = "SHIPMENTS_MAIL_CA_FILE")]
    mail_ca_file: Option<PathBuf>,
    /// How long a mail may take, in all
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_MAIL_DEADLINE", default_value = "30s", value_parser = deadline)]
    mail_deadline: std::time::Duration,
    /// Networks that webhooks may go to although they are not public, such as 127.0.0.0/8; for development
    #[arg(long, value_name = "NETWORK,..", env = "SHIPMENTS_WEBHOOK_ALLOW", value_delimiter = ',')]
    webhook_allow: Vec<Network>,
    /// Let webhooks go to http:// as well; for development
    #[arg(long, env = "SHIPMENTS_WEBHOOK_ALLOW_HTTP")]
    webhook_allow_http: bool,
    /// How long a webhook may take, in all
    #[arg(long, value_name = "TIME", env = "SHIPMENTS_WEBHOOK_DEADLINE", default_value = "20s", value_parser = deadline)]
    webhook_deadline: std::time::Duration,
    /// A PEM file with further certificate authorities for webhooks
    #[arg(long, value_name = "FILE", env = "SHIPMENTS_WEBHOOK_CA_FILE")]
    webhook_ca_file: Option<PathBuf>,
    /// The waits between attempts to tell somebody, by webhook or by mail
    #[arg(
        long,
        value_name = "TIME,..",
        env = "SHIPMENTS_NOTIFY_SCHEDULE",
        default_value = "5s,5m,30m,2h,5h,10h,14h,20h,24h"
    )]
    notify_schedule: Schedule,
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|error| format!("it is no mail address: {error}"))
}

/// More would hold a worker's claim for long.
fn deadline(text: &str) -> Result<std::time::Duration, String> {
    let most = std::time::Duration::from_secs(60);
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() && time <= most => Ok(time),
        Ok(_) => Err("it has to be more than nothing and at most 60s".to_owned()),
        Err(error) => Err(format!("it is no time: {error}; 20s is one")),
    }
}

impl NotifyArgs {
    /// How parties are told; relay lives in this schema.
    ///
    /// # Errors
    /// What is missing, or can't be used.
    pub fn settings(&self, relay_schema: &str) -> Result<NotifySettings, Failure> {
        Ok(NotifySettings {
            relay_schema: relay_schema.to_owned(),
            mail: self.mail()?,
            webhooks: WebhookSettings {
                allow: self.webhook_allow.clone(),
                allow_http: self.webhook_allow_http,
                deadline: self.webhook_deadline,
                ca_file: self.webhook_ca_file.clone(),
                ..WebhookSettings::default()
            },
            schedule: self.notify_schedule.clone(),
        })
    }

    fn mail(&self) -> Result<Option<MailSettings>, Failure> {
        let Some(server) = self.mail_url.clone() else { return Ok(None) };
        let from =
            self.mail_from.clone().ok_or_else(|| missing("SHIPMENTS_MAIL_FROM", "--mail-from, too"))?;
        let name = "SHIPMENTS_MAIL_PASSWORD";
        let password = given(name, self.mail_password.as_ref(), self.mail_password_file.as_ref())?;
        let credentials = match (self.mail_user.clone(), password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => return Err(missing(name, "it or --mail-password-file to log in with")),
            (None, Some(_)) => {
                return Err(unusable(name, "there is no user for it; give --mail-user".to_owned()));
            }
        };
        let (ca_file, deadline) = (self.mail_ca_file.clone(), self.mail_deadline);
        Ok(Some(MailSettings { credentials, ca_file, deadline, ..MailSettings::new(server, from) }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        notify: NotifyArgs,
    }

    fn settings(arguments: &[&str]) -> Result<NotifySettings, String> {
        let command = Command::try_parse_from([&["x"], arguments].concat());
        let command = command.map_err(|error| error.to_string())?;
        command.notify.settings("relay").map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_nobody_is_told_by_mail_and_webhooks_go_to_public_https() {
        let settings = settings(&[]).unwrap();
        assert!(
            settings.mail.is_none() && settings.webhooks.allow.is_empty() && !settings.webhooks.allow_http
        );
        assert_eq!(settings.schedule, Schedule::default());
    }

    #[test]
    fn arguments_become_settings() {
        let settings = settings(&[
            "--mail-url=smtp://localhost:1025",
            "--mail-from=Shop <shop@example.com>",
            "--mail-user=shop",
            "--mail-password=hunter2",
            "--mail-deadline=7s",
            "--webhook-allow=127.0.0.0/8,::1",
            "--webhook-allow-http",
            "--notify-schedule=1s,2s",
        ])
        .unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        let mail = settings.mail.unwrap();
        assert_eq!((mail.server.port, mail.credentials.unwrap().0.as_str()), (1025, "shop"));
        assert_eq!(mail.deadline.as_secs(), 7);
        assert_eq!((settings.webhooks.allow.len(), settings.schedule.attempts()), (2, 3));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_cure() {
        for (arguments, name) in [
            (&["--mail-url=mail.example.com"][..], "smtps://"),
            (&["--mail-url=smtps://m"], "SHIPMENTS_MAIL_FROM"),
            (&["--mail-from=nobody"], "no mail address"),
            (
                &["--mail-url=smtps://m", "--mail-from=a@b.example", "--mail-user=u"],
                "SHIPMENTS_MAIL_PASSWORD",
            ),
            (&["--mail-url=smtps://m", "--mail-from=a@b.example", "--mail-password=p"], "--mail-user"),
            (&["--webhook-allow=localhost"], "127.0.0.0/8"),
            (&["--mail-deadline=2h"], "at most 60s"),
            (&["--webhook-deadline=2h"], "at most 60s"),
            (&["--notify-schedule=soon"], "5s,5m,30m"),
        ] {
            let error = settings(arguments).expect_err(name);
            assert!(error.contains(name), "{arguments:?}: {error}");
        }
    }
}
