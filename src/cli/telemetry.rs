//! Tracing, as OpenTelemetry's variables have it; docs/tracing.md.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::{
    cause::chain,
    drain::Ended,
    metrics::SpanMetrics,
    telemetry::{Telemetry, TelemetrySettings, Understood},
};

/// What the last spans may take at the end of a process.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Starts exporting spans, if the environment says so. A mistake in there is said, and is no reason not to work.
pub(crate) fn start_tracing(service: &str, runtime: &Runtime) -> Telemetry {
    let Understood { settings, warnings } =
        TelemetrySettings::read(service, |variable| std::env::var(variable).ok());
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let Some(settings) = settings else { return Telemetry::default() };
    let _inside = runtime.enter();
    let said = format!("spans are exported to {}", settings.place());
    let started = match SpanMetrics::new() {
        Ok(metrics) => Telemetry::start(Some(settings), metrics).map_err(|error| chain(&error)),
        Err(error) => Err(error.to_string()),
    };
    match started {
        Ok(telemetry) => {
            tracing::info!("{said}");
            telemetry
        }
        Err(error) => {
            tracing::warn!("nothing is traced: {error}");
            Telemetry::default()
        }
    }
}

/// Exports the last spans; not where a second signal said at once.
pub(crate) async fn end_tracing(telemetry: Telemetry, ended: Ended) {
    if ended != Ended::Aborted {
        telemetry.finish(LAST_WORDS).await;
    }
}
