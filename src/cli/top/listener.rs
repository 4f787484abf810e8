//! What running relays say of themselves, for what no database knows: the broker's circuit breaker, and the link to it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use crate::{
    cause::chain,
    cli::Failure,
    http::client::{Bytes, HttpClient, HttpSettings, Method, Request},
};

/// Listeners that are asked at most.
const MOST: usize = 32;
/// No answer may take longer, so that none holds up the view.
const PATIENCE: Duration = Duration::from_secs(1);

/// A circuit breaker, as `relay_breaker_state` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    Closed,
    HalfOpen,
    Open,
}

/// What a relay says of one outbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Says {
    /// Of the broker.
    pub(super) breaker: Option<Breaker>,
    /// Whether there is a session with the broker.
    pub(super) connected: Option<bool>,
    /// Whether the broker takes no messages.
    pub(super) blocked: Option<bool>,
    /// Rows in memory.
    pub(super) in_flight: Option<f64>,
    /// Rows marked published since it was started.
    pub(super) published: Option<f64>,
    /// Retries since then.
    pub(super) retries: Option<f64>,
}

/// Who was asked, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// Host and port, or whatever the URL was.
    pub(super) whom: String,
    /// What it says, or why it doesn't.
    pub(super) answer: Result<Says, String>,
}

/// Asks the same listeners again and again.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    urls: Arc<[String]>,
    client: HttpClient,
}

impl Asker {
    /// For these, each the beginning of a URL: `http://127.0.0.1:9630`.
    pub(super) fn of(urls: &[String]) -> Result<Self, Failure> {
        if urls.len() > MOST {
            return Err(Failure::Usage(format!("--ask: {MOST} relays at most")));
        }
        let strange = |url: &&String| !url.starts_with("http://") && !url.starts_with("https://");
        if let Some(url) = urls.iter().find(strange) {
            return Err(Failure::Usage(format!(
                "--ask {url}: expected where a relay's admin listener is, such as http://127.0.0.1:9630"
            )));
        }
        let settings = HttpSettings {
            connect_timeout: PATIENCE,
            read_timeout: PATIENCE,
            deadline: PATIENCE,
            user_agent: concat!("relay-top/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..HttpSettings::default()
        };
        let client = HttpClient::new(settings, None)
            .map_err(|error| Failure::Failed(format!("--ask: {}", chain(&error))))?;
        Ok(Self { urls: urls.into(), client })
    }

    /// Asks all of them about an outbox, side by side.
    pub(super) async fn ask(&self, outbox: &str) -> Vec<Asked> {
        join_all(self.urls.iter().map(async |url| {
            let whom = url.split("://").nth(1).unwrap_or(url).trim_end_matches('/').to_owned();
            let request = Request {
                method: Method::GET,
                url: format!("{}/metrics", url.trim_end_matches('/')),
                headers: Vec::new(),
                body: Bytes::new(),
            };
            let answer = match Box::pin(self.client.send(request)).await {
                Ok(response) if response.status == 200 => {
                    says(&String::from_utf8_lossy(&response.body), outbox)
                        .ok_or_else(|| format!("it has no outbox {outbox}"))
                }
                Ok(response) => Err(format!("it answers {} to /metrics", response.status)),
                Err(error) => Err(chain(&error)),
            };
            Asked { whom, answer }
        }))
        .await
    }
}

/// What its metrics say of an outbox; none if they know no such outbox.
fn says(metrics: &str, outbox: &str) -> Option<Says> {
    let mut says = None;
    let of_it = format!("outbox=\"{}\"", outbox.replace('\\', "\\\\").replace('"', "\\\""));
    for line in metrics.lines() {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        let Ok(value) = value.trim().parse::<f64>() else { continue };
        if !labels.split(',').any(|label| label == of_it) {
            continue;
        }
        let says: &mut Says = says.get_or_insert_default();
        match name {
            "relay_breaker_state" => {
                says.breaker = Some(match value {
                    0.0 => Breaker::Closed,
                    1.0 => Breaker::HalfOpen,
                    _ => Breaker::Open,
                });
            }
            "relay_amqp_connected" => says.connected = Some(value > 0.0),
            "relay_amqp_blocked" => says.blocked = Some(value > 0.0),
            "relay_in_flight_rows" => says.in_flight = Some(value),
            "relay_published_total" => says.published = Some(value),
            "relay_retries_total" => *says.retries.get_or_insert(0.0) += value,
            _ => {}
        }
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, render};

    #[test]
    fn a_relays_own_metrics_are_understood_outbox_by_outbox() {
        let (one, two) = (Metrics::new("a\"b").unwrap(), Metrics::new("two").unwrap());
        one.breaker_state.with_label_values(&["broker"]).set(2);
        one.amqp_blocked.set(1);
        one.in_flight_rows.set(7);
        one.published.inc_by(5);
        one.retries.with_label_values(&["unroutable"]).inc_by(2);
        one.retries.with_label_values(&["nacked"]).inc();
        two.amqp_connected.set(1);
        let text = render(&[one, two]).unwrap();
        let said = says(&text, "a\"b").unwrap();
        assert_eq!(
            said,
            Says {
                breaker: Some(Breaker::Open),
                connected: Some(false),
                blocked: Some(true),
                in_flight: Some(7.0),
                published: Some(5.0),
                retries: Some(3.0),
            }
        );
        let said = says(&text, "two").unwrap();
        assert_eq!((said.breaker, said.connected), (Some(Breaker::Closed), Some(true)));
        assert_eq!(says(&text, "three"), None);
    }

    #[test]
    fn what_is_no_url_is_refused_before_anything_is_drawn() {
        let refused = Asker::of(&["localhost:9630".to_owned()]).unwrap_err().to_string();
        assert!(refused.contains("http://127.0.0.1:9630"), "{refused}");
    }
}
