//! By which ids a request is found again in everything that follows from it: log lines and spans.

use std::{collections::BTreeMap, process::Stdio};

use relay::shipping::step::Step;
use serde_json::{Value, json};

use crate::{
    client::{exchange, request},
    collector::{Collector, Span},
    rig::{GOOD, Rig, shipments},
    support::{relay::RelayProcess, servers, wait},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
/// What the API takes as a token: "secret".
const TOKENS: &str = "shop:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n";

/// Its log says where it listens; nothing else of it is asked.
async fn api(rig: &Rig, env: &[(&str, &str)]) -> RelayProcess {
    let tokens = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipping_worker.tokens");
    std::fs::write(&tokens, TOKENS).unwrap();
    let mut command = shipments(&["api"]);
    command
        .env("DATABASE_URL", &rig.database.url)
        .env("SHIPMENTS_API_TOKENS_FILE", tokens)
        .env("SHIPMENTS_API_LISTEN", "127.0.0.1:0")
        .env("SHIPMENTS_API_ADMIN_LISTEN", "127.0.0.1:0")
        .envs(env.iter().copied())
        .stdin(Stdio::null());
    RelayProcess::launch(command).await
}

/// Asks for a shipment as a caller does that traces; returns its id.
async fn ask_for_a_shipment(rig: &Rig, api: &RelayProcess) -> uuid::Uuid {
    rig.order("17").await;
    let address: Value = serde_json::from_str(GOOD).unwrap();
    let body = json!({
        "order_id": "17", "ship_from": address,
        "cases": [{"weight_grams": 500, "length_mm": 300, "width_mm": 200, "height_mm": 100,
                   "lines": [{"line": 1, "quantity": 10}]}],
    });
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let headers = [
        ("authorization", "Bearer secret"),
        ("content-type", "application/json"),
        ("idempotency-key", "k"),
        ("x-request-id", "order-17"),
        ("traceparent", parent.as_str()),
        ("tracestate", "a=b"),
    ];
    let bytes = request("POST", "/shipments", &headers, body.to_string().as_bytes());
    let address = api.lines().iter().find_map(|line| line["address"].as_str()?.parse().ok()).unwrap();
    let answer = wait::found("the API's database", wait::LONG, async || {
        exchange(address, &bytes).await.ok().filter(|answer| answer.status != 503)
    })
    .await;
    assert_eq!((answer.status, answer.header("x-request-id")), (202, Some("order-17")), "{answer:?}");
    let at = answer.header("location").unwrap();
    at.rsplit('/').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_a_worker_about_a_message_has_the_request_it_goes_back_to() {
    let rig = Rig::new().await;
    let api = api(&rig, &[]).await;
    let worker = rig.worker().ready().await;
    // The third step of the chain says that it has to try again.
    rig.sim.rule(r#"{"route": "buy", "work": false, "answer": "status", "status": 500, "times": 1}"#).await;
    let id = ask_for_a_shipment(&rig, &api).await;
    rig.wait_state(id, "shipped").await;
    let about =
        |line: &Value| line["shipment_id"] == id.to_string() || line["span"]["message_id"].is_string();
    let lines: Vec<Value> = worker.lines().into_iter().filter(about).collect();
    assert!(!lines.is_empty(), "{}", worker.log());
    for line in lines {
        let ids = [&line["span"]["request_id"], &line["span"]["trace_id"]];
        assert_eq!(ids, ["order-17", TRACE], "{line}");
    }
    let unlike = "select count(*) from relay.outbox where aggregate_type = 'shipment'
                  and (headers->>'x-request-id' is distinct from 'order-17' or headers->>'tracestate' is distinct from 'a=b'
                       or headers->>'traceparent' is distinct from '00-'||$1||'-'||$2||'-01')";
    assert_eq!(
        rig.database.query(unlike, &[&TRACE, &SPAN]).await[0].get::<_, i64>(0),
        0,
        "untraced, all passes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_request_to_its_last_effect() {
    let collector = Collector::start().await;
    let url = collector.url();
    let to_there = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let mut rig = Rig::with(servers::shared(), |relay| {
        to_there.iter().fold(relay, |relay, (name, value)| relay.env(name, value))
    })
    .await;
    // It is not asked again before its end: what it has then it exports.
    let mut api = api(&rig, &[to_there[0], ("OTEL_BSP_SCHEDULE_DELAY", "300000")]).await;
    let worker = to_there.iter().fold(rig.worker(), |worker, (name, value)| worker.env(name, value));
    let mut worker = worker.ready().await;
    let id = ask_for_a_shipment(&rig, &api).await;
    rig.wait_state(id, "shipped").await;
    rig.wait_quiet().await;
    // Each exports its last spans before it ends.
    worker.drain().await;
    api.drain().await;
    rig.relay.drain().await;
    let spans = collector.spans();

    let whole: Vec<_> = spans.iter().filter(|span| span.trace == TRACE).collect();
    let by_id: BTreeMap<&str, &Span> = whole.iter().map(|span| (span.id.as_str(), *span)).collect();
    assert_eq!(by_id.len(), whole.len(), "no span came twice");
    for span in &whole {
        assert!(
            span.parent == SPAN || by_id.contains_key(span.parent.as_str()),
            "it hangs in the air: {span:#?}"
        );
        assert_eq!(span.get("relay.request_id"), "order-17", "{span:#?}");
    }
    let roots: Vec<_> = whole.iter().filter(|span| span.parent == SPAN).collect();
    assert_eq!(roots.len(), 1, "{roots:#?}");
    let accepted = roots[0];
    assert_eq!((accepted.service.as_str(), accepted.name.as_str()), ("shipments-api", "POST /shipments"));
    assert_eq!(accepted.get("http.response.status_code"), "202");
    for step in Step::ALL.iter().filter(|step| **step != Step::Notify) {
        let key = format!("shipment.{step}");
        let of = |service: &str| {
            let found = whole.iter().find(|span| {
                span.service == service && span.get("messaging.rabbitmq.destination.routing_key") == key
            });
            *found.unwrap_or_else(|| panic!("{service} says nothing of {step}: {whole:#?}"))
        };
        let (published, processed) = (of("relay"), of("shipments-worker"));
        assert_eq!(published.parent, processed.parent, "{step}: what asked for it is the parent of both");
        assert_eq!(published.links, [(TRACE.to_owned(), published.parent.clone())], "{step}");
        assert_eq!(processed.links, published.links, "{step}");
        assert_eq!(published.get("messaging.message.id"), processed.get("messaging.message.id"), "{step}");
        // The address is asked for by the request, all others by what was processed before them.
        let parent = by_id[published.parent.as_str()];
        let asked_by = if *step == Step::ValidateAddress { "shipments-api" } else { "shipments-worker" };
        assert_eq!(parent.service, asked_by, "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_messages_that_are_none_cost_a_few_lines() {
    let rig = Rig::new().await;
    let mut worker = rig.worker().only("address").ready().await;
    let before = worker.lines().len();
    let channel = rig.broker.channel().await;
    for _ in 0..300 {
        let (exchange, key) = (rig.broker.exchange.as_str(), "shipment.validate_address");
        let (options, properties) = (Default::default(), Default::default());
        let published = channel.basic_publish(exchange.into(), key.into(), options, b"{", properties).await;
        published.unwrap().await.unwrap();
    }
    worker
        .wait_metric("relay_consumer_processed_total", &["garbage"], 2 * wait::LONG, |count| count >= 300.0)
        .await;
    worker.drain().await;
    let lines = worker.lines().len() - before;
    assert!(lines <= 30, "{lines} lines:\n{}", worker.log());
    assert!(worker.log().contains("more dead letters were no messages"), "{}", worker.log());
}
