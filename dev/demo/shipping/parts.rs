//! The parts of the shipping service: API, workers, and the carrier that is simulated.

use relay::http::client::{Method, Request};
use serde_json::Value;

use super::shop;
use crate::{
    part::{Part, get, http},
    servers::{Result, Stack},
};

/// The carrier's secret for its webhooks.
const CARRIER_SECRET: &str = "correct horse battery staple";
/// What the API is told of its one caller: the SHA-256 of the token.
const TOKENS: &str =
    concat!("shop:", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", "\n");

/// How the carrier misbehaves, again after each start: answers to purchases and creations are lost although it did what
/// it was asked, and some calls fail.
const MANNERS: &str = r#"{"rules": [
    {"route": "buy", "answer": "lost", "probability": 0.3, "times": 4},
    {"route": "buy", "answer": "status", "status": 500, "probability": 0.3, "times": 4},
    {"route": "create", "answer": "reset", "probability": 0.3, "times": 4},
    {"route": "verify_address", "work": false, "answer": "status", "status": 503, "probability": 0.3, "times": 3}]}"#;

pub(crate) struct Parts {
    pub(crate) api: Part,
    pub(crate) workers: [Part; 2],
    pub(crate) carrier: Part,
    pub(crate) api_url: String,
    carrier_url: String,
    /// Answers that the carrier spoilt.
    pub(crate) spoilt: u64,
}

impl Parts {
    pub(crate) fn new(stack: &Stack, mail_url: &str) -> Result<Self> {
        let (listen, admin, carrier) = (stack.address()?, stack.address()?, stack.address()?);
        let (api_url, carrier_url) = (format!("http://{listen}"), format!("http://{carrier}"));
        let (tokens, manners) = (stack.file("tokens"), stack.file("manners.json"));
        std::fs::write(&tokens, TOKENS)?;
        std::fs::write(&manners, MANNERS)?;

        let api = stack
            .part("api", "shipments", &["api"], format!("http://{admin}/readyz"))?
            .env("SHIPMENTS_API_LISTEN", &listen)
            .env("SHIPMENTS_API_ADMIN_LISTEN", &admin)
            .env("SHIPMENTS_API_TOKENS_FILE", &tokens.to_string_lossy())
            .env("SHIPMENTS_API_LOOPBACK_ENDPOINTS", "true")
            .env("SHIPMENTS_CARRIER_WEBHOOK_SECRET", CARRIER_SECRET);
        let arguments = ["carrier-sim", "--listen", &carrier, "--ledger", "ledger.jsonl", "--script"];
        let manners = manners.to_string_lossy();
        let webhooks = format!("{api_url}/webhooks/carrier");
        let arguments = [&arguments[..], &[&manners, "--webhook-url", &webhooks]].concat();
        let carrier = stack
            .part("carrier", "shipments", &arguments, format!("{carrier_url}/_ledger"))?
            .env("SHIPMENTS_CARRIER_WEBHOOK_SECRET", CARRIER_SECRET);
        let worker = |name: &str| -> Result<Part> {
            let admin = stack.address()?;
            let worker = stack
                .part(name, "shipments", &["worker"], format!("http://{admin}/readyz"))?
                .env("SHIPMENTS_ADMIN_LISTEN", &admin)
                .env("SHIPMENTS_CARRIER_URL", &format!("{carrier_url}/v2"))
                .env("SHIPMENTS_CARRIER_API_KEY", "EZTKsimulated")
                .env("SHIPMENTS_MAIL_URL", mail_url)
                .env("SHIPMENTS_MAIL_FROM", "Shop <shop@example.com>")
                .env("SHIPMENTS_WEBHOOK_ALLOW", "127.0.0.0/8")
                .env("SHIPMENTS_WEBHOOK_ALLOW_HTTP", "true");
            Ok(IMPATIENCE.iter().fold(worker, |worker, (name, value)| worker.env(name, value)))
        };
        let workers = [worker("worker-a")?, worker("worker-b")?];
        Ok(Self { api, workers, carrier, api_url, carrier_url, spoilt: 0 })
    }

    /// Starts them; the workers' queues are there before anything is accepted.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.carrier.start().await?;
        for worker in &mut self.workers {
            worker.start().await?;
        }
        self.api.start().await
    }

    /// What the carrier did, by its own account.
    pub(crate) async fn ledger(&self) -> Result<Value> {
        let ledger =
            get(&format!("{}/_ledger", self.carrier_url)).await.ok_or("the carrier does not answer")?;
        Ok(serde_json::from_slice(&ledger)?)
    }

    /// Adds what the carrier has spoilt since it was started: what is left of its script says how often each rule was used.
    pub(crate) async fn count_spoilt(&mut self) -> Result<()> {
        let left =
            get(&format!("{}/_script", self.carrier_url)).await.ok_or("the carrier does not answer")?;
        let times = |script: &[u8]| -> Result<u64> {
            let script: Value = serde_json::from_slice(script)?;
            let rules = script["rules"].as_array().ok_or("the carrier's script has no rules")?;
            Ok(rules.iter().filter_map(|rule| rule["times"].as_u64()).sum())
        };
        self.spoilt += times(MANNERS.as_bytes())? - times(&left)?;
        Ok(())
    }

    /// SIGKILL. What it sold stays sold.
    pub(crate) async fn kill_carrier(&mut self) -> Result<()> {
        self.count_spoilt().await?;
        self.carrier.kill().await
    }

    /// Tells the carrier how to misbehave from now on.
    pub(crate) async fn script(&self, script: &str) -> Result<()> {
        let url = format!("{}/_script", self.carrier_url);
        let request =
            Request { method: Method::PUT, url, headers: shop::json(), body: script.to_owned().into() };
        let response = http()?.send(request).await?;
        if response.status == 200 { Ok(()) } else { Err("the carrier does not take the script".into()) }
    }
}

/// Waits that are minutes in earnest. Attempts are not counted out: what is at stake here is that nothing happens twice.
const IMPATIENCE: &[(&str, &str)] = &[
    ("SHIPMENTS_ATTEMPTS", "1000"),
    ("SHIPMENTS_CHECKS", "1000"),
    ("SHIPMENTS_RETRY_FLOOR", "100ms"),
    ("SHIPMENTS_RETRY_CAP", "500ms"),
    ("SHIPMENTS_DEADLINE", "4s"),
    ("SHIPMENTS_CLAIM_MARGIN", "1s"),
    ("SHIPMENTS_CARRIER_TIMEOUT", "1500ms"),
    ("SHIPMENTS_CARRIER_SETTLING", "1s"),
    ("SHIPMENTS_CARRIER_REFUND_POLL", "200ms"),
    ("SHIPMENTS_MAIL_DEADLINE", "5s"),
    ("SHIPMENTS_WEBHOOK_DEADLINE", "5s"),
    (
        "SHIPMENTS_NOTIFY_SCHEDULE",
        "200ms,500ms,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s",
    ),
];
