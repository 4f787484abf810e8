//! The client against servers that break off, drip, flood and lie; and whether it knows what was sent.

use std::{
    io::ErrorKind,
    net::{IpAddr, TcpListener as StdListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use relay::http::{
    client::{HttpClient, HttpSettings, Method, Request, Response},
    error::{Cause, HttpError},
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::sim::http;

fn get(url: &str) -> Request {
    Request { method: Method::GET, url: url.to_owned(), headers: vec![], body: vec![].into() }
}

/// A server that answers every connection by this; its URL.
async fn server<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(TcpStream) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    url
}

/// A server that reads a request, then writes this again and again, so many times, and closes.
async fn says(text: &'static str, times: usize) -> String {
    server(move |mut stream| async move {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        for _ in 0..times {
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
        let _ = stream.shutdown().await;
    })
    .await
}

/// The cause, if the request is known not to have been sent.
fn not_sent(result: Result<Response, HttpError>) -> Cause {
    match result {
        Err(HttpError::NotSent(cause)) => cause,
        other => panic!("{other:?}"),
    }
}

/// The cause, if the request may have been done.
fn maybe_done(result: Result<Response, HttpError>) -> Cause {
    match result {
        Err(HttpError::MaybeDone(cause)) => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_fails_before_the_request_is_known_not_to_have_been_sent() {
    let client = http(|_| {});
    let closed = StdListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let cause = not_sent(client.send(get(&format!("http://{closed}/"))).await);
    assert!(
        matches!(&cause, Cause::Connect(error) if error.kind() == ErrorKind::ConnectionRefused),
        "{cause:?}"
    );
    let cause = not_sent(client.send(get("http://no-such-name.invalid/")).await);
    assert!(matches!(cause, Cause::Resolve { .. }), "{cause:?}");
    let cause = not_sent(client.send(get("gopher://x/")).await);
    assert!(matches!(cause, Cause::Unusable(_)), "{cause:?}");
    let plain = says("HTTP/1.1 200 OK\r\n\r\n", 1).await.replace("http:", "https:");
    let cause = not_sent(client.send(get(&plain)).await);
    assert!(matches!(cause, Cause::Tls(_)), "{cause:?}");
    // It accepts, and then says nothing to the greeting.
    let mute = server(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    });
    let client = http(|settings| settings.connect_timeout = Duration::from_millis(200));
    let cause = not_sent(client.send(get(&mute.await.replace("http:", "https:"))).await);
    assert!(matches!(cause, Cause::ConnectTimeout(_)), "{cause:?}");
}

#[tokio::test]
async fn what_fails_after_the_request_may_have_been_done() {
    let client = http(|settings| settings.read_timeout = Duration::from_millis(300));
    for (text, what) in [
        ("", "closed without an answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "shorter than it says"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "without the last chunk"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "another protocol"),
        ("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "a length that is none"),
    ] {
        let cause = maybe_done(client.send(get(&says(text, 1).await)).await);
        assert!(matches!(cause, Cause::Broken(_)), "{what}: {cause:?}");
    }
    let mute = server(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    });
    let cause = maybe_done(client.send(get(&mute.await)).await);
    assert!(matches!(cause, Cause::ReadTimeout(_)), "{cause:?}");
    let zipped = says("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", 1).await;
    let cause = maybe_done(client.send(get(&zipped)).await);
    assert!(matches!(&cause, Cause::Encoded(encoding) if encoding == "gzip"), "{cause:?}");
}

#[tokio::test]
async fn the_deadline_ends_an_answer_that_never_falls_silent() {
    let drip = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let client = http(|settings| settings.deadline = Duration::from_millis(400));
    let cause = maybe_done(client.send(get(&drip.await)).await);
    assert!(matches!(cause, Cause::Deadline(_)), "{cause:?}");
    let drip = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let cause = maybe_done(client.send(get(&drip.await)).await);
    assert!(matches!(cause, Cause::Deadline(_)), "in the head: {cause:?}");
}

#[tokio::test]
async fn a_body_or_a_head_beyond_the_cap_is_not_read() {
    let client = http(|settings| settings.body_cap = 1000);
    let endless = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b' '; 4096]).await.is_ok() {}
    });
    let cause = maybe_done(client.send(get(&endless.await)).await);
    assert!(matches!(cause, Cause::TooLong(1000)), "{cause:?}");
    let exact = says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 1).await;
    let response = http(|settings| settings.body_cap = 5).send(get(&exact)).await.expect("it just fits");
    assert_eq!(response.body.as_ref(), b"hello");
    let cause = maybe_done(http(|settings| settings.body_cap = 4).send(get(&exact)).await);
    assert!(matches!(cause, Cause::TooLong(4)), "{cause:?}");
    let endless = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        while stream.write_all(&[b'y'; 4096]).await.is_ok() {}
    });
    let cause = maybe_done(client.send(get(&endless.await)).await);
    assert!(matches!(cause, Cause::Broken(_)), "{cause:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let elsewhere =
        says("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 1);
    assert_eq!(http(|_| {}).send(get(&elsewhere.await)).await.expect("it answers").status, 302);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_even_connected_to() {
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it can be");
    let port = listener.local_addr().expect("bound").port();
    let check = |address: IpAddr| if address.is_loopback() { Err("it is this machine") } else { Ok(()) };
    let client = HttpClient::new(HttpSettings::default(), Some(Arc::new(check))).expect("good settings");
    for host in ["127.0.0.1", "localhost", "127.1", "0x7f000001"] {
        let cause = not_sent(client.send(get(&format!("http://{host}:{port}/"))).await);
        // However it is spelled: either it resolves to what is not allowed, or not at all.
        assert!(matches!(cause, Cause::Forbidden { .. } | Cause::Resolve { .. }), "{host}: {cause:?}");
    }
    let accepted = listener.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(accepted, Err(ErrorKind::WouldBlock), "somebody connected");
}

/// A server with a certificate for `localhost` by this issuer; its URL.
async fn tls_server(issuer: &Issuer<'_, KeyPair>, expired: bool) -> String {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    if expired {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    }
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks them")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let url = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    });
    url.await.replace("http://127.0.0.1", "https://localhost")
}

#[tokio::test]
async fn a_certificate_must_be_current_for_the_name_and_from_somebody_trusted() {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(params, key);
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("root-{}.pem", std::process::id()));
    std::fs::write(&file, root.pem()).expect("it can be written");
    let trusting = http(|settings| settings.ca_file = Some(file.clone()));
    let (good, expired) = (tls_server(&issuer, false).await, tls_server(&issuer, true).await);

    assert_eq!(trusting.send(get(&good)).await.expect("it is good").body.as_ref(), b"ok");
    for (client, url, what) in [
        (&trusting, expired, "expired"),
        (&trusting, good.replace("localhost", "127.0.0.1"), "for another name"),
        (&http(|_| {}), good, "from nobody we know"),
    ] {
        let cause = not_sent(client.send(get(&url)).await);
        assert!(matches!(cause, Cause::Tls(_)), "{what}: {cause:?}");
    }
    let _ = std::fs::remove_file(&file);
}
