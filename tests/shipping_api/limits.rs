//! Who may ask, how much, how fast and how often.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{exchange, read, request},
    rig::{Rig, SHOP, apples},
    support::wait,
};

#[tokio::test]
async fn only_known_tokens_may_ask() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    for wrong in ["", "Bearer", "Bearer wrong", "Basic c2VjcmV0Og==", "secret"] {
        for path in ["/shipments?order=17", "/orders/17", "/webhook-endpoints"] {
            let answer = api.ask("GET", path, &[("authorization", wrong)], b"").await;
            answer.is_problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    for public in ["/openapi.json", "/problems"] {
        assert_eq!(api.ask("GET", public, &[("authorization", "")], b"").await.status, 200);
    }
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let rig = Rig::new().await.env("SHIPMENTS_API_RATE", "1");
    let api = rig.start().await;
    api.wait_ready().await;
    let mut told = Vec::new();
    while told.len() < 20 {
        told.push(api.get("/orders/17").await);
    }
    let refused = told.iter().find(|answer| answer.status == 429).expect("twenty at once are too many");
    refused.is_problem(429, "too-many-requests");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Others are not charged for it.
    let desk = api.ask("GET", "/orders/17", &[("authorization", crate::rig::DESK)], b"").await;
    assert_eq!(desk.status, 404);
    wait::until("the shop may ask again", wait::LONG, async || api.get("/orders/17").await.status == 404)
        .await;
}

#[tokio::test]
async fn garbage_is_told_what_it_is() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let key = ("idempotency-key", "k");
    for (body, status, code) in [
        (&b""[..], 400, "malformed-body"),
        (b"\xff\xfe", 400, "malformed-body"),
        (b"{\"order_id\": \"17\"", 400, "malformed-body"),
        (b"null", 422, "invalid-body"),
        (b"[]", 422, "invalid-body"),
        (b"{\"order_id\": 1e400}", 422, "invalid-body"),
    ] {
        api.ask("POST", "/shipments", &[key], body).await.is_problem(status, code);
    }
    api.ask("POST", "/shipments", &[key], &b"[".repeat(200_000)).await.is_problem(422, "invalid-body");
    let mut wrong = apples(1);
    wrong["ship_to"] = crate::rig::address();
    wrong["ship_to"]["city"] = json!("a\0b");
    wrong["cases"][0]["lines"][0]["quantity"] = json!(0);
    wrong["order_id"] = json!("../..");
    let answer = api.keyed("/shipments", "k", &wrong).await;
    answer.is_problem(422, "invalid-body");
    let body = answer.json();
    let places: Vec<&str> =
        body["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(places, ["/order_id", "/ship_to/city", "/cases/0/lines/0/quantity"]);
    let mut wrong = apples(1);
    wrong["cases"][0]["colour"] = json!("red");
    let answer = api.keyed("/shipments", "k", &wrong).await;
    answer.is_problem(422, "invalid-body");
    assert_eq!(answer.json()["errors"][0]["pointer"], "/cases/0/colour");
    let text = [key, ("content-type", "text/plain")];
    api.ask("POST", "/shipments", &text, apples(1).to_string().as_bytes())
        .await
        .is_problem(415, "unsupported-media-type");
    assert_eq!(rig.count("shipments").await, 0);
}

#[tokio::test]
async fn long_bodies_are_refused_whether_they_say_so_or_not() {
    let rig = Rig::new().await.env("SHIPMENTS_API_BODY_BYTES", "2000");
    let api = rig.ready().await;
    let long = format!("{}{}", apples(1), " ".repeat(3000));
    api.ask("POST", "/shipments", &[("idempotency-key", "k")], long.as_bytes())
        .await
        .is_problem(413, "body-too-large");
    let headers = [
        ("authorization", SHOP),
        ("content-type", "application/json"),
        ("idempotency-key", "k"),
        ("content-length", "99999999999"),
    ];
    let bytes = request("POST", "/shipments", &headers, b"{");
    exchange(api.address(), &bytes).await.unwrap().is_problem(413, "body-too-large");
    let head = "POST /shipments HTTP/1.1\r\nhost: api\r\nauthorization: Bearer secret\r\ncontent-type: application/json\r\n\
                idempotency-key: k\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = format!("{:x}\r\n{long}\r\n", long.len());
    exchange(api.address(), format!("{head}{chunks}").as_bytes())
        .await
        .unwrap()
        .is_problem(413, "body-too-large");
    assert_eq!(rig.count("shipments").await, 0);
}

/// Waits until the server ends the connection; returns what it said.
async fn ended(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let _ =
        tokio::time::timeout(wait::LONG, stream.read_to_end(&mut said)).await.expect("the connection ends");
    said
}

#[tokio::test]
async fn long_heads_are_refused() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let send = async |address: SocketAddr, head: String| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(head.as_bytes()).await;
        String::from_utf8_lossy(&ended(stream).await).into_owned()
    };
    let one = format!("GET /openapi.json HTTP/1.1\r\nhost: api\r\nx-long: {}\r\n\r\n", "x".repeat(40_000));
    assert!(send(api.address(), one).await.starts_with("HTTP/1.1 431 "));
    let many: String = (0..100).map(|number| format!("x-{number}: y\r\n")).collect();
    let many = format!("GET /openapi.json HTTP/1.1\r\nhost: api\r\n{many}\r\n");
    assert!(send(api.address(), many).await.starts_with("HTTP/1.1 431 "));
    assert_eq!(api.get("/openapi.json").await.status, 200);
}

#[tokio::test]
async fn whoever_sends_a_byte_now_and_then_is_cut_off() {
    let rig = Rig::new().await.env("SHIPMENTS_API_ARRIVAL_TIMEOUT", "500ms");
    let api = rig.ready().await;
    let drip = async |bytes: Vec<u8>| {
        let mut stream = TcpStream::connect(api.address()).await.unwrap();
        let (mut from, mut to) = stream.split();
        let mut said = Vec::new();
        let dripping = async {
            for byte in bytes {
                if to.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = from.read_to_end(&mut said) => {}
            () = dripping => {}
            () = tokio::time::sleep(wait::LONG) => panic!("it is still connected"),
        }
        String::from_utf8_lossy(&said).into_owned()
    };
    let headers = [("authorization", SHOP), ("content-type", "application/json"), ("idempotency-key", "k")];
    let whole = request("POST", "/shipments", &headers, apples(1).to_string().as_bytes());
    let said = drip(whole.clone()).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "in its head: {said}");
    let head = whole.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut stream = TcpStream::connect(api.address()).await.unwrap();
    stream.write_all(&whole[..head + 10]).await.unwrap();
    read(&mut stream).await.unwrap().is_problem(408, "request-timeout");
    // Nor does one that says nothing stay for ever.
    assert!(ended(TcpStream::connect(api.address()).await.unwrap()).await.is_empty());
    assert_eq!(rig.count("shipments").await, 0);
}

#[tokio::test]
async fn more_requests_than_there_are_places_are_told_to_come_again() {
    let rig = Rig::new().await.env("SHIPMENTS_API_REQUESTS", "1");
    let api = rig.ready().await;
    // It takes up the only place until its body is there.
    let headers = [("authorization", SHOP), ("content-type", "application/json"), ("idempotency-key", "k")];
    let whole = request("POST", "/shipments", &headers, apples(1).to_string().as_bytes());
    let mut first = TcpStream::connect(api.address()).await.unwrap();
    first.write_all(&whole[..whole.len() - 1]).await.unwrap();
    wait::until("it has the place", wait::LONG, async || {
        api.metric("shipments_api_in_flight_requests").await == 1.0
    })
    .await;
    let refused = api.get("/orders/17").await;
    refused.is_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    first.write_all(&whole[whole.len() - 1..]).await.unwrap();
    assert_eq!(read(&mut first).await.unwrap().status, 202);
    assert_eq!(api.get("/orders/17").await.status, 200);
}
