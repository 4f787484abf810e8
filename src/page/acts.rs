//! Pausing, resuming, and having a key go on: as `relay pause`, `relay resume` and `relay key` do.

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Page,
    gate::Visitor,
    input,
    problem::{Problem, json_of},
};
use crate::{
    operator::{
        audit::Signed,
        keys::{Key, WayOn, go_on},
        pauses::{PauseError, Paused, pause as pause_it, resume as resume_them},
    },
    outbox::pauses::PauseTable,
    pause::{PauseId, Target},
};

/// Pauses that one request ends at most: as many as there may be.
const PAUSES: usize = 1000;
/// The longest of a pause's names, in bytes.
const NAME: usize = 255;

/// What to pause, and why.
#[derive(Debug, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case", deny_unknown_fields)]
enum ToPause {
    All {
        #[serde(default)]
        note: Option<String>,
    },
    Route {
        #[serde(default)]
        exchange: Option<String>,
        #[serde(default)]
        routing_key: Option<String>,
        #[serde(default)]
        note: Option<String>,
    },
    Key {
        aggregate_type: String,
        aggregate_id: String,
        #[serde(default)]
        note: Option<String>,
    },
}

impl ToPause {
    fn target(self, default_exchange: &str) -> Result<(Target, Option<String>), Problem> {
        let name = |field: &str, name: String| {
            if (1..=NAME).contains(&name.len()) && !name.contains('\0') {
                Ok(name)
            } else {
                Err(Problem::bad(format!("{field} has {} bytes", name.len()))
                    .cure(format!("give a name of 1 to {NAME} bytes")))
            }
        };
        Ok(match self {
            Self::All { note } => (Target::All, note),
            Self::Route { exchange: None, routing_key: None, .. } => {
                return Err(Problem::bad("neither exchange nor routing_key is there")
                    .cure("give one of them, or scope \"all\""));
            }
            Self::Route { exchange, routing_key, note } => {
                let exchange = name("exchange", exchange.unwrap_or_else(|| default_exchange.to_owned()))?;
                let routing_key = name("routing_key", routing_key.unwrap_or_else(|| "#".to_owned()))?;
                (Target::Route { exchange, routing_key }, note)
            }
            Self::Key { aggregate_type, aggregate_id, note } => {
                let aggregate_type = name("aggregate_type", aggregate_type)?;
                let aggregate_id = name("aggregate_id", aggregate_id)?;
                (Target::Key { aggregate_type, aggregate_id }, note)
            }
        })
    }
}

/// `POST pause`: as `relay pause`.
pub(super) async fn pause(
    State(page): State<Page>,
    Path(name): Path<String>,
    Extension(Visitor { actor, .. }): Extension<Visitor>,
    body: Body,
) -> Result<Response, Problem> {
    let outbox = page.outbox(&name)?;
    let (target, note) = input::body::<ToPause>(body).await?.target(&outbox.exchange)?;
    let signed = Signed { actor, note: input::note(note)? };
    let session = outbox.session().await?;
    let paused = session
        .answer(async {
            match pause_it(session.client(), outbox.schema(), &target, &signed).await {
                Ok(paused) => Ok(Ok(paused)),
                Err(PauseError::Database(error)) => Err(error),
                Err(error @ PauseError::TooMany) => Ok(Err(Problem::conflict(error.to_string()))),
            }
        })
        .await;
    let (id, already) = match session.settle(paused)?? {
        Paused::Now(id) => (id, false),
        Paused::Already(id) => (id, true),
    };
    if !already {
        tracing::info!(
            outbox = outbox.name,
            actor = signed.actor,
            "{} paused {target}, as {id}",
            signed.actor
        );
    }
    Ok(json_of(&json!({ "pause_id": id, "already": already })))
}

/// Which pauses to end, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToResume {
    #[serde(default)]
    pause_ids: Vec<PauseId>,
    #[serde(default)]
    everything: bool,
    #[serde(default)]
    note: Option<String>,
}

/// `POST resume`: as `relay resume --id …`, or `--everything`.
pub(super) async fn resume(
    State(page): State<Page>,
    Path(name): Path<String>,
    Extension(Visitor { actor, .. }): Extension<Visitor>,
    body: Body,
) -> Result<Response, Problem> {
    let outbox = page.outbox(&name)?;
    let ToResume { mut pause_ids, everything, note } = input::body(body).await?;
    pause_ids.sort_unstable();
    pause_ids.dedup();
    if pause_ids.is_empty() != everything || pause_ids.len() > PAUSES {
        return Err(Problem::bad("pause_ids and everything do not say which pauses to end")
            .cure(format!("give 1 to {PAUSES} pause_ids, or everything: true")));
    }
    let signed = Signed { actor, note: input::note(note)? };
    let session = outbox.session().await?;
    let table = PauseTable::new(outbox.schema());
    let known = match session.answer(table.list(session.client())).await {
        Ok(standing) => standing,
        Err(error) => return session.settle(Err(error)),
    };
    let known = known.iter().map(|pause| pause.id);
    let (meant, others): (Vec<_>, Vec<_>) = known.partition(|id| everything || pause_ids.contains(id));
    if meant.len() < pause_ids.len() {
        session.settle(Ok(()))?;
        return Err(Problem::missing("there is no such pause").cure("look at the pauses again"));
    }
    // Keys by the million take longer than an answer may; the request has a limit, and a relay does the rest.
    let resumed = resume_them(session.client(), outbox.schema(), &meant, &signed).await;
    let resumed = session.settle(resumed)?;
    tracing::info!(outbox = outbox.name, actor = signed.actor, "{} ended {resumed}", signed.actor);
    Ok(json_of(&json!({ "pauses": resumed.pauses, "keys": resumed.keys, "left": others.len() })))
}

/// Which key, as it was seen, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToGoOn {
    aggregate_type: String,
    aggregate_id: String,
    head_seq: i64,
    #[serde(default)]
    note: Option<String>,
}

/// `POST key/skip`: as `relay key skip`.
pub(super) async fn skip(
    State(page): State<Page>,
    Path(name): Path<String>,
    Extension(visitor): Extension<Visitor>,
    body: Body,
) -> Result<Response, Problem> {
    leave_behind(&page, &name, WayOn::Skip, visitor, body).await
}

/// `POST key/release`: as `relay key release`.
pub(super) async fn release(
    State(page): State<Page>,
    Path(name): Path<String>,
    Extension(visitor): Extension<Visitor>,
    body: Body,
) -> Result<Response, Problem> {
    leave_behind(&page, &name, WayOn::Release, visitor, body).await
}

async fn leave_behind(
    page: &Page,
    name: &str,
    way: WayOn,
    Visitor { actor, .. }: Visitor,
    body: Body,
) -> Result<Response, Problem> {
    let outbox = page.outbox(name)?;
    let ToGoOn { aggregate_type, aggregate_id, head_seq, note } = input::body(body).await?;
    let signed = Signed { actor, note: input::note(note)? };
    let moved_on = || Problem::conflict("the key has moved on meanwhile").cure("look at it again");
    let session = outbox.session().await?;
    let went_on = session
        .answer(async {
            let (client, schema) = (session.client(), outbox.schema());
            let Some(key) = Key::find(client, schema, &aggregate_type, &aggregate_id).await? else {
                return Ok(Err(moved_on()));
            };
            if key.held.head_seq != head_seq {
                return Ok(Err(moved_on()));
            }
            if key.way_on() != Some(way) {
                let reason = &key.held.reason;
                let error = format!("the key is {reason}, and {} is no way on from that", way.verb());
                return Ok(Err(Problem::conflict(error).cure(match key.way_on() {
                    Some(other) => format!("{} it", other.verb()),
                    None => "end its pause, or look at it again".to_owned(),
                })));
            }
            let did = go_on(client, schema, &key, way, &signed).await?;
            Ok(if did { Ok(key) } else { Err(moved_on()) })
        })
        .await;
    let key = session.settle(went_on)??;
    tracing::info!(
        outbox = outbox.name,
        actor = signed.actor,
        seq = head_seq,
        "{} had a key go on without row {head_seq}: {}",
        signed.actor,
        way.verb()
    );
    Ok(json_of(&json!({
        "action": way.verb(),
        "head_seq": head_seq,
        "event_id": key.event_id,
        "behind": key.behind,
    })))
}
