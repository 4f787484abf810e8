//! The simulator: the real binary, as a process.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use relay::{
    breaker::BreakerSettings,
    config::Secret,
    http::{
        client::{HttpClient, HttpSettings, Method, Request},
        gate::Gate,
    },
    shipping::carrier::{
        client::{Carrier, CarrierSettings},
        shipment::{Address, CarrierShipment, NewShipment, Parcel},
        verdict::{Verdict, Why},
    },
};
use serde_json::Value;

/// The key that it takes.
pub const KEY: &str = "EZTKtest";
/// What its webhooks are signed with.
pub const SECRET: &str = "a secret for tests only";

/// A running simulator with a ledger of its own.
pub struct Sim {
    child: Child,
    pub url: String,
    pub ledger: PathBuf,
    args: Vec<String>,
}

impl Sim {
    /// Starts one, with these arguments beside.
    pub fn start(args: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sim-{}-{}.jsonl", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let ledger = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_file(&ledger);
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (child, url) = launch(&ledger, "127.0.0.1:0", &args);
        Self { child, url, ledger, args }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Starts it again, with its ledger and at its address.
    pub fn restart(&mut self) {
        let address = self.url.trim_start_matches("http://").to_owned();
        (self.child, _) = launch(&self.ledger, &address, &self.args);
    }

    async fn call(&self, method: Method, path: &str, body: &str) -> Value {
        let request = Request {
            method,
            url: format!("{}{path}", self.url),
            headers: vec![],
            body: body.to_owned().into_bytes().into(),
        };
        let response = http(|_| {}).send(request).await.expect("the simulator answers");
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!(response.status, 200, "{path}: {text}");
        serde_json::from_str(&text).expect("it answers in JSON")
    }

    /// Makes it misbehave; nothing is left of what was set before.
    pub async fn script(&self, script: &str) {
        self.call(Method::PUT, "/_script", script).await;
    }

    /// One rule.
    pub async fn rule(&self, rule: &str) {
        self.script(&format!(r#"{{"rules": [{rule}]}}"#)).await;
    }

    /// Makes it behave.
    pub async fn behave(&self) {
        self.call(Method::DELETE, "/_script", "").await;
    }

    /// What it did.
    pub async fn ledger(&self) -> Value {
        self.call(Method::GET, "/_ledger", "").await
    }

    /// How many of the shipments with a reference it created, and how many it sold.
    pub async fn sold(&self, reference: &str) -> (u64, u64) {
        let counts = &self.ledger().await["references"][reference];
        (counts["created"].as_u64().unwrap_or(0), counts["bought"].as_u64().unwrap_or(0))
    }

    /// Moves a parcel.
    pub async fn track(&self, shipment: &str, status: &str) {
        let body = format!(r#"{{"shipment_id": "{shipment}", "status": "{status}"}}"#);
        self.call(Method::POST, "/_track", &body).await;
    }

    /// A client that is not patient, with a breaker that holds nothing back.
    pub fn carrier(&self) -> Carrier {
        let (open_for, open_cap) = (Duration::ZERO, Duration::ZERO);
        let settings = BreakerSettings {
            consecutive: 1000,
            minimum_calls: 1000,
            open_for,
            open_cap,
            ..Default::default()
        };
        self.carrier_with(settings)
    }

    pub fn carrier_with(&self, breaker: BreakerSettings) -> Carrier {
        let settings = CarrierSettings { base_url: format!("{}/v2", self.url), api_key: Secret::new(KEY) };
        Carrier::new(&settings, http(|_| {}), Gate::new(breaker)).expect("the settings are good")
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.ledger);
    }
}

/// `shipments carrier-sim` with nothing of this process's environment.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shipments"));
    command.arg("carrier-sim").args(args).env_clear().stdin(Stdio::null());
    command
}

fn launch(ledger: &PathBuf, address: &str, args: &[String]) -> (Child, String) {
    let mut child = command(&["--listen", address, "--api-key", KEY, "--ledger"])
        .arg(ledger)
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be run");
    let mut url = String::new();
    let stdout = child.stdout.take().expect("it is a pipe");
    BufReader::new(stdout).read_line(&mut url).expect("it prints its address");
    assert!(url.starts_with("http://"), "it printed {url:?}");
    (child, url.trim().to_owned())
}

/// A client within narrow bounds, so that no test waits for long.
pub fn http(change: impl FnOnce(&mut HttpSettings)) -> HttpClient {
    let mut settings = HttpSettings {
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(2),
        deadline: Duration::from_secs(3),
        body_cap: 256 * 1024,
        ..HttpSettings::default()
    };
    change(&mut settings);
    HttpClient::new(settings, None).expect("the settings are good")
}

/// What is shipped.
pub fn order(reference: &str) -> NewShipment {
    let address = |name: &str, street: &str| Address {
        name: Some(name.to_owned()),
        street1: street.to_owned(),
        city: "Springfield".to_owned(),
        state: Some("OR".to_owned()),
        zip: "97477".to_owned(),
        country: "US".to_owned(),
        ..Address::default()
    };
    NewShipment {
        reference: reference.to_owned(),
        from: address("Sender", "1 First St"),
        to: address("Recipient", "2 Second St"),
        parcel: Parcel { length: 10.0, width: 8.0, height: 4.0, weight: 15.4 },
    }
}

/// Creates a shipment that is to be bought; returns it with the id of its cheapest rate.
pub async fn created(carrier: &Carrier, reference: &str) -> (CarrierShipment, String) {
    let shipment = succeeded(carrier.create_shipment(&order(reference)).await);
    let rate = shipment.cheapest("USD", None).expect("it has rates").id.clone();
    (shipment, rate)
}

/// What succeeded.
pub fn succeeded<T: std::fmt::Debug>(verdict: Verdict<T>) -> T {
    match verdict {
        Verdict::Succeeded(value) => value,
        other => panic!("it did not succeed: {other:?}"),
    }
}

/// A verdict in one word.
pub fn word<T>(verdict: &Verdict<T>) -> &'static str {
    match verdict {
        Verdict::Succeeded(_) => "succeeded",
        Verdict::Refused(_) => "refused",
        Verdict::Unknown(_) => "unknown",
        Verdict::TryLater(delay) => match delay.why {
            Why::Held => "held",
            Why::Unreachable => "unreachable",
            Why::Throttled => "throttled",
            Why::Account => "account",
            Why::Failing => "failing",
        },
    }
}
