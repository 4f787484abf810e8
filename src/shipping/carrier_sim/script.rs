//! How the carrier misbehaves: rules that a test or the demo sets.
//!
//! ```json
//! {"rules": [
//!    {"route": "buy", "answer": "lost", "times": 3},
//!    {"route": "buy", "work": false, "answer": "status", "status": 429, "retry_after": "2", "times": 1},
//!    {"route": "any", "work": false, "answer": "reset", "probability": 0.5, "seconds": 20}],
//!  "refunds": {"outcome": "rejected", "after_ms": 500}}
//! ```
//!
//! The first rule that applies is used. `work` says whether the call has its effect all the same.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::book::RefundOutcome;

/// A call of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Every one of them; only in a rule.
    Any,
    /// `POST /v2/addresses`
    VerifyAddress,
    /// `POST /v2/shipments`
    Create,
    /// `POST /v2/shipments/:id/buy`
    Buy,
    /// `GET /v2/shipments/:id`
    Retrieve,
    /// `GET /v2/shipments`
    List,
    /// `POST /v2/shipments/:id/refund`
    Refund,
    /// `GET /v2/trackers/:id`
    Tracker,
}

/// What is answered instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What is right, after the delay.
    Right,
    /// Nothing; the connection stays open.
    Lost,
    /// Nothing; the connection is reset.
    Reset,
    /// Half of it, then a reset.
    ResetMidway,
    /// It, one byte a second.
    Slow,
    /// A body without end.
    Endless,
    /// A body that is no JSON.
    BadJson,
    /// An error as JSON, with status 200.
    ErrorJson,
    /// It, said to be gzip.
    Encoded,
    /// It, shorter than its length says.
    Short,
    /// A redirect to the same place.
    Redirect,
    /// The rule's status, with an error as JSON.
    Status,
}

/// One way to misbehave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Of which call.
    pub route: Route,
    /// Whether the call has its effect.
    #[serde(default = "yes")]
    pub work: bool,
    /// What is answered.
    pub answer: Answer,
    /// For [`Answer::Status`]; 500 if not given.
    #[serde(default)]
    pub status: Option<u16>,
    /// A header Retry-After, as it stands.
    #[serde(default)]
    pub retry_after: Option<String>,
    /// Wait before the work.
    #[serde(default)]
    pub delay_ms: u64,
    /// So many calls go well first.
    #[serde(default)]
    pub skip: u32,
    /// To so many calls; all, if not given.
    #[serde(default)]
    pub times: Option<u32>,
    /// Of those that it applies to, this share is hit.
    #[serde(default = "always")]
    pub probability: f64,
    /// For so long from when it is set; for ever, if not given.
    #[serde(default)]
    pub seconds: Option<f64>,
}

fn yes() -> bool {
    true
}

fn always() -> f64 {
    1.0
}

/// How refunds go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefundPolicy {
    /// How they end.
    pub outcome: RefundOutcome,
    /// When, after they were asked for.
    pub after_ms: u64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// In order.
    pub rules: Vec<Rule>,
    /// How refunds go.
    pub refunds: RefundPolicy,
}

/// A script that is being played.
#[derive(Debug)]
pub struct Stage {
    script: Script,
    set: Instant,
}

impl Stage {
    /// Starts a script.
    #[must_use]
    pub fn new(script: Script, now: Instant) -> Self {
        Self { script, set: now }
    }

    /// What is left of it.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// The rule for a call, if one hits it; `chance` is a random number from 0 to 1. Uses it up.
    pub fn hit(&mut self, route: Route, now: Instant, chance: f64) -> Option<Rule> {
        let age = now.saturating_duration_since(self.set);
        for rule in &mut self.script.rules {
            let over = rule.seconds.is_some_and(|seconds| age.as_secs_f64() > seconds);
            if over || rule.times == Some(0) || !(rule.route == Route::Any || rule.route == route) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if chance >= rule.probability {
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            return Some(rule.clone());
        }
        None
    }

    /// How a refund that is asked for now goes: when it is decided, and how.
    #[must_use]
    pub fn refund(&self) -> (Duration, RefundOutcome) {
        (Duration::from_millis(self.script.refunds.after_ms), self.script.refunds.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(script: &str) -> Stage {
        Stage::new(serde_json::from_str(script).expect("a script"), Instant::now())
    }

    #[test]
    fn a_rule_hits_its_route_as_often_as_it_says() {
        let mut stage = stage(
            r#"{"rules": [{"route": "buy", "answer": "lost", "skip": 1, "times": 2},
                          {"route": "any", "answer": "reset", "work": false, "probability": 0.5}]}"#,
        );
        let now = stage.set;
        let mut hit = |route, chance| stage.hit(route, now, chance).map(|rule| rule.answer);
        assert_eq!(hit(Route::Buy, 0.9), None, "the first goes well");
        assert_eq!(hit(Route::Buy, 0.9), Some(Answer::Lost));
        assert_eq!(hit(Route::Buy, 0.9), Some(Answer::Lost));
        assert_eq!(hit(Route::Buy, 0.9), None, "it is used up");
        assert_eq!(hit(Route::Buy, 0.4), Some(Answer::Reset));
        assert_eq!(hit(Route::List, 0.4), Some(Answer::Reset));
    }

    #[test]
    fn a_rule_ends_with_its_time() {
        let mut stage = stage(r#"{"rules": [{"route": "any", "answer": "reset", "seconds": 2.5}]}"#);
        let set = stage.set;
        assert!(stage.hit(Route::Buy, set + Duration::from_secs(2), 0.0).is_some());
        assert!(stage.hit(Route::Buy, set + Duration::from_secs(3), 0.0).is_none());
    }

    #[test]
    fn a_script_with_a_slip_of_the_pen_is_refused() {
        for script in [
            r#"{"rule": []}"#,
            r#"{"rules": [{"route": "by", "answer": "lost"}]}"#,
            r#"{"refunds": {"when": 1}}"#,
        ] {
            assert!(serde_json::from_str::<Script>(script).is_err(), "{script}");
        }
    }
}
