//! `shipments carrier-sim`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cause::chain,
    cli::{Exit, Failure, listen, print, runtime, say, start_logging},
    config::{Log, LogFormat, Secret},
    http::client::{HttpClient, HttpSettings},
    shipping::carrier_sim::{
        script::Script,
        server::{self, SimSettings},
        webhooks::Receiver,
    },
};

/// Simulate the carrier: its API, a durable ledger of what it sold, and misbehaviour on request.
///
/// Prints the URL it listens on. GET /_ledger shows what it sold; PUT /_script makes it misbehave. Whoever reaches it
/// may do both, so keep it on loopback.
#[derive(Debug, Args)]
pub(super) struct CarrierSim {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9640")]
    listen: SocketAddr,
    /// The ledger, a file of JSON lines; created if need be
    #[arg(long, value_name = "FILE", default_value = "carrier-ledger.jsonl")]
    ledger: PathBuf,
    /// The API key it takes
    #[arg(
        long,
        value_name = "KEY",
        default_value = "EZTKsimulated",
        env = "SHIPMENTS_CARRIER_API_KEY",
        hide_env_values = true
    )]
    api_key: String,
    /// How it misbehaves from the start, as JSON
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Where its webhooks go [default: nowhere]
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    webhook_url: Option<String>,
    /// What its webhooks are signed with
    #[arg(long, value_name = "SECRET", env = "SHIPMENTS_CARRIER_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<String>,
}

impl CarrierSim {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        start_logging(&Log { format: LogFormat::Auto, level: "info".to_owned() });
        let script = match &self.script {
            None => Script::default(),
            Some(path) => read_script(path)?,
        };
        let http = HttpClient::new(HttpSettings::default(), None);
        let http = http.map_err(|error| Failure::Failed(chain(&error)))?;
        let receiver = self
            .webhook_url
            .zip(self.webhook_secret)
            .map(|(url, secret)| Receiver { url, secret: Secret::new(secret) });
        let api_key = Secret::new(self.api_key);
        let settings = SimSettings { ledger: self.ledger, api_key, script, receiver };
        let address = self.listen;
        runtime()?.block_on(async {
            let failed = |source| Failure::Io { what: "cannot wait for signals".to_owned(), source };
            let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
            let listener = listen("--listen", address).await?;
            let bound = listener.local_addr().unwrap_or(address);
            if !bound.ip().is_loopback() {
                say("warning: whoever reaches this address may read the ledger and write the script");
            }
            print(&format!("http://{bound}"));
            tokio::select! {
                result = server::serve(settings, listener, http) => {
                    result.map_err(|error| Failure::Failed(chain(&error)))?;
                }
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            Ok(Exit::Ok)
        })
    }
}

fn read_script(path: &PathBuf) -> Result<Script, Failure> {
    let what = || format!("cannot read the script {}", path.display());
    let text = std::fs::read(path).map_err(|source| Failure::Io { what: what(), source })?;
    serde_json::from_slice(&text).map_err(|error| Failure::Usage(format!("{}: {error}", what())))
}
