//! Mail: told once, or known not to be, or left to a person.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use relay::{
    breaker::BreakerState,
    config::Secret,
    shipping::{
        notify::{NotifySettings, mail::MailSettings},
        saga::{Input, Resolution},
        shipment::Standing,
    },
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::{
    postman::{Manner, Postman},
    receiver::QUIET,
    rig::{MAIL, Rig},
    support::wait,
};

/// The rig's settings with another way of sending mail.
fn with_mail(rig: &Rig, adjust: impl FnOnce(&mut MailSettings)) -> NotifySettings {
    let mut settings = rig.settings();
    adjust(settings.mail.as_mut().unwrap());
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_the_partys_and_says_what_is_stored() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    let worker = rig.start();
    rig.relay().await;
    rig.wait_entry(id, MAIL, "succeeded").await;
    let mails = rig.postman.mails();
    assert_eq!(
        (mails.len(), mails[0].from.as_str(), mails[0].to.as_str()),
        (1, "shop@example.com", "ada@example.com")
    );
    let stored: Vec<u8> = rig.base.one("select body from shipping.notifications where party_no = 1").await;
    assert_eq!(mails[0].text.trim_end(), String::from_utf8(stored).unwrap().trim_end());
    let known: String =
        rig.base.one("select notification_id::text from shipping.notifications where party_no = 1").await;
    assert_eq!(mails[0].header("Message-ID"), format!("<{known}@example.com>"));
    assert_eq!(mails[0].header("Subject"), "Order 17 is on its way");
    assert!(mails[0].text.contains(&format!("USPS, {id}1")));
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_put_off_is_sent_again_as_it_was() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.postman.script([
        Manner::Recipient("450 4.2.0 greylisted"),
        Manner::Content("451 4.3.0 try later"),
        Manner::DropsAtData,
    ]);
    // Whatever comes after the first byte of a mail and before an answer may have been its end.
    let worker = rig.start();
    rig.relay().await;
    rig.wait_stalled(id, MAIL).await;
    assert_eq!((rig.postman.connections(), rig.postman.mails().len()), (3, 1));
    rig.input(id, Input::Resolve(MAIL, Resolution::NotDone)).await;
    rig.relay().await;
    rig.wait_entry(id, MAIL, "succeeded").await;
    let mails = rig.postman.mails();
    assert_eq!((mails.len(), mails[0].text == mails[1].text), (2, true));
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_does_not_exist_is_final_and_undoes_nothing() {
    for manner in [Manner::Recipient("550 5.1.1 nobody"), Manner::Content("554 5.6.0 no")] {
        let mut rig = Rig::new().await;
        let id = rig.shipped().await;
        rig.postman.script([manner]);
        let worker = rig.start();
        rig.relay().await;
        rig.wait_entry(id, MAIL, "failed").await;
        rig.wait_idle().await;
        assert_eq!(rig.postman.connections(), 1);
        assert_eq!(rig.base.shipment(id).await.standing, Standing::Shipped);
        let said = rig.notification(id, 1, "shipped").await.unwrap();
        assert!(said.starts_with("failed: the mail server: permanent error (55"), "{said}");
        rig.end(worker).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_answer_was_lost_is_not_sent_again_until_a_person_says_so() {
    for (manner, resolution) in
        [(Manner::DropsAfterMail, Resolution::NotDone), (Manner::SilentAfterMail, Resolution::Done)]
    {
        let mut rig = Rig::new().await;
        let id = rig.shipped().await;
        rig.postman.script([manner]);
        let settings = with_mail(&rig, |mail| mail.deadline = Duration::from_millis(800));
        let worker = rig.start_with(settings, |_| {});
        rig.relay().await;
        rig.wait_stalled(id, MAIL).await;
        assert_eq!(rig.entry(id, MAIL).await, ("unknown".to_owned(), true));
        let said = rig.notification(id, 1, "shipped").await.unwrap();
        assert!(said.starts_with("unknown: "), "{said}");
        rig.relay_again().await;
        rig.wait_idle().await;
        wait::throughout("it is not sent again", QUIET, async || rig.postman.connections() == 1).await;
        assert_eq!(rig.base.shipment(id).await.standing, Standing::Shipped);

        rig.input(id, Input::Resolve(MAIL, resolution)).await;
        rig.relay().await;
        rig.wait_entry(id, MAIL, "succeeded").await;
        let mails = rig.postman.mails();
        let expected = if resolution == Resolution::Done { 1 } else { 2 };
        assert_eq!(mails.len(), expected);
        // Whoever got both can tell.
        assert!(mails.iter().all(|mail| mail.header("Message-ID") == mails[0].header("Message-ID")));
        rig.end(worker).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_greet_or_take_us_costs_an_attempt_and_no_mail() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.postman.script([Manner::Silent, Manner::Sender("550 5.7.1 who are you?")]);
    let settings = with_mail(&rig, |mail| mail.deadline = Duration::from_millis(800));
    let worker = rig.start_with(settings, |_| {});
    rig.relay().await;
    rig.wait_entry(id, MAIL, "succeeded").await;
    assert_eq!((rig.postman.connections(), rig.postman.mails().len()), (3, 1));
    rig.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_buries_no_mail_and_a_right_one_is_used() {
    for (password, state) in [("wrong", "pending"), ("right", "succeeded")] {
        let mut rig = Rig::new().await;
        let id = rig.shipped().await;
        let credentials = Some(("shop".to_owned(), Secret::new(password)));
        let mut settings = with_mail(&rig, |mail| mail.credentials = credentials);
        settings.schedule = "1h".parse().unwrap();
        let worker = rig.start_with(settings, |_| {});
        rig.relay().await;
        wait::until("it has logged in", wait::LONG, async || rig.postman.logins().len() == 1).await;
        rig.wait_entry(id, MAIL, state).await;
        assert_eq!(rig.postman.mails().len(), usize::from(state == "succeeded"));
        let said = rig.notification(id, 1, "shipped").await.unwrap();
        assert!(!said.contains("wrong"), "{said}");
        rig.end(worker).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_down_its_breaker_holds_mail_and_charges_nobody() {
    let mut rig = Rig::new().await;
    let ids = [rig.shipped().await, rig.shipped().await];
    rig.postman.script(vec![Manner::Sender("421 4.3.2 closing"); 5]);
    let mut settings = rig.settings();
    settings.schedule = ["20ms"; 9].join(",").parse().unwrap();
    let worker = rig.start_with(settings, |_| {});
    rig.relay().await;
    wait::until("the breaker is open", wait::LONG, async || {
        worker.notify.mail_breaker() == BreakerState::Open
    })
    .await;
    for id in ids {
        rig.wait_entry(id, MAIL, "succeeded").await;
    }
    assert_eq!((rig.postman.connections(), rig.postman.mails().len()), (7, 2));
    rig.end(worker).await;
}

/// A server's TLS under this name, and a file with the certificate that vouches for it.
fn identity(name: &str) -> (TlsAcceptor, PathBuf) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let file = std::env::temp_dir().join(format!("relay-notify-{}-{name}.pem", std::process::id()));
    std::fs::write(&file, cert.pem()).unwrap();
    (TlsAcceptor::from(Arc::new(config)), file)
}

/// By this address Linux connects to this machine, too; but it is none that mail goes to in the clear.
const ELSEWHERE: &str = "0.0.0.0";

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_another_machine_goes_by_starttls_or_not_at_all() {
    let (tls, file) = identity(ELSEWHERE);
    let offering = Postman::with_starttls(tls).await;
    let mut rig = Rig::new().await;
    let ports = [offering.address.port(), rig.postman.address.port()];
    for (port, ca_file, state, why) in [
        (ports[0], Some(file.clone()), "succeeded", "sent"),
        (ports[0], None, "failed", "certificate"),
        (ports[1], Some(file.clone()), "failed", "the mail server offers no STARTTLS"),
    ] {
        let id = rig.shipped().await;
        let mut settings = with_mail(&rig, |mail| {
            mail.server = format!("smtp://{ELSEWHERE}:{port}").parse().unwrap();
            mail.credentials = Some(("shop".to_owned(), Secret::new("right")));
            mail.ca_file = ca_file;
        });
        settings.schedule = "".parse().unwrap();
        let worker = rig.start_with(settings, |_| {});
        rig.relay().await;
        rig.wait_entry(id, MAIL, state).await;
        rig.wait_idle().await;
        let said = rig.notification(id, 1, "shipped").await.unwrap();
        assert!(said.contains(why), "{said}");
        worker.drain().await;
    }
    assert_eq!((offering.mails().len(), offering.logins().len(), offering.connections()), (1, 1, 2));
    assert_eq!((rig.postman.mails().len(), rig.postman.logins().len(), rig.postman.connections()), (0, 0, 1));
    // Neither the password nor a word of the mail.
    assert_eq!(offering.clear(), ["EHLO example.com", "STARTTLS", "EHLO example.com", "STARTTLS"]);
    assert_eq!(rig.postman.clear(), ["EHLO example.com"]);
    std::fs::remove_file(&file).unwrap();
    rig.base.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_by_tls_to_a_server_that_is_known_and_to_no_other() {
    let (tls, file) = identity("localhost");
    let encrypted = Postman::with_tls(tls).await;
    let mut rig = Rig::new().await;
    for (port, ca_file, told) in [
        (encrypted.address.port(), Some(file.clone()), true),
        (encrypted.address.port(), None, false),
        // In the clear.
        (rig.postman.address.port(), Some(file.clone()), false),
    ] {
        let id = rig.shipped().await;
        let mut settings = with_mail(&rig, |mail| {
            mail.server = format!("smtps://localhost:{port}").parse().unwrap();
            mail.ca_file = ca_file;
        });
        settings.schedule = "".parse().unwrap();
        let worker = rig.start_with(settings, |_| {});
        rig.relay().await;
        rig.wait_entry(id, MAIL, if told { "succeeded" } else { "failed" }).await;
        rig.wait_idle().await;
        worker.drain().await;
    }
    assert_eq!((encrypted.mails().len(), rig.postman.mails().len()), (1, 0));
    std::fs::remove_file(&file).unwrap();
    rig.base.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_final_and_nothing_is_said_to_the_server() {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    rig.sql("update shipping.parties set mail = E'ada@example.com\\r\\nRCPT TO:<eve@example.org>' where party_no = 1")
        .await;
    let worker = rig.start();
    rig.relay().await;
    rig.wait_entry(id, MAIL, "failed").await;
    assert_eq!(rig.postman.connections(), 0);
    let error: String = rig.base.one("select last_error from shipping.steps where subject = 'mail/1'").await;
    assert!(error.starts_with("the party's mail address can't be used"), "{error}");
    rig.end(worker).await;
}
