//! Where webhooks do not go.

use relay::shipping::notify::{NotifySettings, webhook::WebhookSettings};

use crate::rig::{Rig, WEBHOOK};

/// Why a webhook failed that was not to be sent at all.
async fn refusal(url: &str, adjust: impl FnOnce(&mut WebhookSettings)) -> (String, usize) {
    let mut rig = Rig::new().await;
    let id = rig.shipped().await;
    let url = url.replace("PORT", &rig.receiver.address.port().to_string());
    rig.base.client.execute("update shipping.webhook_endpoints set url = $1", &[&url]).await.unwrap();
    let mut settings = rig.settings();
    adjust(&mut settings.webhooks);
    let worker = rig.start_with(NotifySettings { ..settings }, |_| {});
    rig.relay().await;
    rig.wait_entry(id, WEBHOOK, "failed").await;
    let said = rig.notification(id, 2, "shipped").await.unwrap();
    let calls = rig.receiver.calls().len();
    rig.end(worker).await;
    (said, calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_and_its_neighbours_are_not_called_by_whatever_name() {
    let forbidden = |webhooks: &mut WebhookSettings| webhooks.allow.clear();
    for url in ["http://127.0.0.1:PORT/", "http://localhost:PORT/", "http://[::ffff:127.0.0.1]:PORT/"] {
        let (said, calls) = refusal(url, forbidden).await;
        assert!(said.contains("is not an address to connect to: it is"), "{url}: {said}");
        assert_eq!(calls, 0, "{url}");
    }
    let (said, _) = refusal("http://169.254.169.254/latest/meta-data", forbidden).await;
    assert!(said.contains("169.254.169.254 is not an address to connect to: it is link-local"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_in_the_clear_unless_that_is_allowed() {
    let (said, calls) = refusal("http://127.0.0.1:PORT/", |webhooks| webhooks.allow_http = false).await;
    assert_eq!((said.as_str(), calls), ("failed: the endpoint's URL has to begin with https://", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn https_to_somebody_who_does_not_speak_it_sends_nothing() {
    let (said, calls) = refusal("https://127.0.0.1:PORT/", |_| {}).await;
    assert!(said.contains("cannot agree on TLS"), "{said}");
    assert_eq!(calls, 0);
}
