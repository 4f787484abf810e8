//! Connections that do not come about, and what is said of them.

use std::{
    error::Error,
    fmt::Write as _,
    time::{Duration, Instant},
};

use relay::amqp::{AmqpError, AmqpSettings, Session};

use crate::{
    proxy::Proxy,
    rig::{
        PATIENCE, THREADS, lapin_threads, session, settings_for, settings_through, unique, upstream, uri,
        url, wait_until,
    },
};

/// Everything an operator may ever be shown of an error.
fn shown(error: &AmqpError) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(cause) = source {
        write!(text, " {cause} {cause:?}").unwrap();
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn tls_to_a_plaintext_port_fails() {
    let _shared = THREADS.read().await;
    let encrypted = url().replacen("amqp://", "amqps://", 1);
    let settings = AmqpSettings::new(encrypted.parse().unwrap());
    let error = Session::connect(&settings, "relay-test").await.unwrap_err();
    assert!(matches!(error, AmqpError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_wrong_password_is_a_refused_login_and_is_shown_nowhere() {
    let _shared = THREADS.read().await;
    let mut uri = uri();
    uri.authority.userinfo.password = "hunter2-is-wrong".to_owned();
    let settings = settings_for(&uri);
    let error = Session::connect(&settings, "relay-test").await.unwrap_err();
    assert!(matches!(error, AmqpError::LoginRefused { .. }) && error.is_configuration(), "{error:?}");
    let everything = format!("{} {settings:?} {settings:#?} {}", shown(&error), settings.uri);
    assert!(!everything.contains("hunter2"), "{everything}");
    let debug = format!("{:?}", session().await);
    assert!(!debug.contains(&format!(":{}@", self::uri().authority.userinfo.password)), "{debug}");
}

#[tokio::test]
async fn a_missing_virtual_host_is_named() {
    let _shared = THREADS.read().await;
    let mut uri = uri();
    uri.vhost = unique("vhost");
    let error = Session::connect(&settings_for(&uri), "relay-test").await.unwrap_err();
    assert!(matches!(&error, AmqpError::VhostRefused { vhost, .. } if *vhost == uri.vhost), "{error:?}");
    assert!(error.is_configuration());
}

#[tokio::test]
async fn an_unreachable_broker_is_named_with_host_and_port_and_may_come_back() {
    let _shared = THREADS.read().await;
    let mut uri = uri();
    uri.authority.host = "127.0.0.1".to_owned();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    uri.authority.port = port;
    let error = Session::connect(&settings_for(&uri), "relay-test").await.unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(matches!(error, AmqpError::Unreachable { .. }) && !error.is_configuration(), "{error:?}");

    let proxy = Proxy::start(upstream()).await.unwrap();
    proxy.refuse();
    let error = Session::connect(&settings_through(&proxy), "relay-test").await.unwrap_err();
    assert!(!error.is_configuration(), "{error:?}");
    proxy.thaw();
    Session::connect(&settings_through(&proxy), "relay-test").await.expect("the same settings work again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_peer_cannot_hold_a_handshake_or_a_thread() {
    let _alone = THREADS.write().await;
    wait_until("other tests' threads end", || lapin_threads() == 0).await;
    let proxy = Proxy::start(upstream()).await.unwrap();
    proxy.freeze();
    let mut settings = settings_through(&proxy);
    settings.connect_timeout = Duration::from_millis(300);
    for _ in 0..3 {
        let begun = Instant::now();
        let error = Session::connect(&settings, "relay-test").await.unwrap_err();
        assert!(matches!(error, AmqpError::HandshakeTimeout { protocol: "AMQP", .. }), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let encrypted = settings_through(&proxy).uri.to_string().replacen("amqp://", "amqps://", 1);
    let mut tls = AmqpSettings::new(encrypted.parse().unwrap());
    tls.connect_timeout = settings.connect_timeout;
    let error = Session::connect(&tls, "relay-test").await.unwrap_err();
    assert!(matches!(error, AmqpError::HandshakeTimeout { protocol: "TLS", .. }), "{error:?}");

    settings.connect_timeout = PATIENCE;
    let abandoned = Session::connect(&settings, "relay-test");
    let outcome = tokio::time::timeout(Duration::from_millis(300), abandoned).await;
    assert!(outcome.is_err(), "a frozen peer answered");
    wait_until("every handshake's thread ends", || lapin_threads() == 0).await;
}
