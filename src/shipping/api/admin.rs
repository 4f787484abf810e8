//! What the API's admin listener answers; and the look at the database that readiness goes by.

use std::{sync::Arc, time::Duration};

use super::state::Api;
use crate::{
    admin::{Admin, readiness},
    health::Part,
};

/// Between two looks at the database.
const PROBE: Duration = Duration::from_secs(1);

/// The answers.
pub(super) fn admin(api: &Api) -> Admin {
    let (rendered, asked) = (api.clone(), api.clone());
    Admin {
        metrics: Arc::new(move || {
            let text = rendered.metrics.render().map_err(|error| error.to_string())?;
            Ok(text + &rendered.settings.tracer.metrics()?)
        }),
        alive: Arc::new(|| Ok("alive\n".to_owned())),
        ready: Arc::new(move || {
            let mut troubles = asked.health.troubles();
            if *asked.stop.borrow() > 0 {
                troubles.push("draining".to_owned());
            }
            readiness(&troubles)
        }),
    }
}

/// Looks whether the database can be worked with. Logs a change, not each look.
pub(super) async fn probe(api: Api) {
    loop {
        match api.pool.probe().await {
            Ok(()) => api.health.up(Part::Database, "connection"),
            Err(error) => api.health.down(Part::Database, "connection", &error.to_string()),
        }
        tokio::time::sleep(PROBE).await;
    }
}
