//! Dead rows: finding, showing, replaying and discarding them, as `relay dlq` and `relay replay-dlq` do.

use std::time::Duration;

use axum::{
    Extension,
    body::Body,
    extract::{Path, RawQuery, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Page,
    gate::Visitor,
    input::{self, Query, parsed},
    looks::{PAGE, cut},
    outbox::{Session, Watched},
    problem::{Problem, json_of},
};
use crate::{
    amqp,
    operator::{
        act::{Action, Ended, Order, act},
        dead::{DeadRow, DeadRows, Filter, Which, database_now},
        letters,
        when::When,
    },
    reason::DeadReason,
};

/// The largest payload that is shown, in bytes: a browser is no place for more.
const PAYLOAD: i64 = 1 << 20;
/// Rows that one request deals with at most.
const ROWS: usize = 500;
/// How long removing stale letters may take: it is not what was asked for.
const SWEEP: Duration = Duration::from_secs(5);

const FILTERS: &[&str] = &[
    "event_id",
    "event_type",
    "aggregate_type",
    "aggregate_id",
    "reason",
    "since",
    "until",
    "after",
    "limit",
];

/// `GET dead`: as `relay dlq list -o json`, a page at a time.
pub(super) async fn list(
    State(page): State<Page>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), FILTERS)?;
    let limit = query.number("limit", PAGE.0, PAGE.1)?;
    let after = query.parsed("after", "the seq that a page ended with")?.unwrap_or(0);
    let reasons: Vec<_> = DeadReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let reason: Option<DeadReason> = query.parsed("reason", &format!("one of {}", reasons.join(", ")))?;
    let ids = query.all("event_id");
    let ids: Vec<Uuid> =
        ids.into_iter().map(|id| parsed("event_id", id, "an event id (a UUID)")).collect::<Result<_, _>>()?;
    let since: Option<When> = query.parsed("since", When::EXPECTED)?;
    let until: Option<When> = query.parsed("until", When::EXPECTED)?;
    let text = |name: &str| Ok::<_, Problem>(query.one(name)?.map(str::to_owned));
    let mut filter = Filter {
        event_ids: (!ids.is_empty()).then_some(ids),
        event_type: text("event_type")?,
        aggregate_type: text("aggregate_type")?,
        aggregate_id: text("aggregate_id")?,
        reason: reason.map(|reason| reason.to_string()),
        ..Filter::default()
    };
    let outbox = page.outbox(&name)?;
    let session = outbox.session().await?;
    let rows = session
        .answer(async {
            if since.is_some() || until.is_some() {
                let now = database_now(session.client()).await?;
                let micros = |when: Option<When>| when.map(|when| when.micros(now));
                (filter.since_us, filter.until_us) = (micros(since), micros(until));
            }
            DeadRows::new(session.client(), outbox.schema())
                .list(&filter, after, limit.saturating_add(1))
                .await
        })
        .await;
    let mut rows = session.settle(rows)?;
    let next = cut(&mut rows, limit, |row| json!(row.seq));
    Ok(json_of(&json!({ "rows": rows.iter().map(DeadRow::to_json).collect::<Vec<_>>(), "next": next })))
}

/// `GET dead/{row}`: as `relay dlq show -o json`, with `--payload` if that is asked for.
pub(super) async fn show(
    State(page): State<Page>,
    Path((name, row)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), &["payload"])?;
    let which: Which = parsed("the row", &row, "an event id (a UUID) or a seq (a number)")?;
    let payload = query.parsed("payload", "true or false")?.unwrap_or(false);
    let outbox = page.outbox(&name)?;
    let session = outbox.session().await?;
    let dead = DeadRows::new(session.client(), outbox.schema());
    let found = session
        .answer(async {
            // It is asked before anything is fetched: whatever died of being too large stays where it is.
            let bytes = if payload { dead.payload_bytes(which).await? } else { 0 };
            if bytes > PAYLOAD {
                return Ok(Err(bytes));
            }
            Ok(Ok(dead.show(which, payload).await?))
        })
        .await;
    let columns = session.settle(found)?.map_err(|bytes| {
        Problem::too_large(format!("the payload has {bytes} bytes, and the page shows {PAYLOAD} at most"))
            .cure(format!("relay dlq show --payload {row}"))
    })?;
    if columns.is_empty() {
        return Err(Problem::missing(format!("there is no row {row}")));
    }
    Ok(json_of(&Value::Object(columns.into_iter().collect())))
}

/// Which rows, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    event_ids: Vec<Uuid>,
    #[serde(default)]
    note: Option<String>,
}

/// `POST dead/replay`: as `relay replay-dlq --event-id …`.
pub(super) async fn replay(
    State(page): State<Page>,
    Path(name): Path<String>,
    Extension(visitor): Extension<Visitor>,
    body: Body,
) -> Result<Response, Problem> {
    deal_with(page.outbox(&name)?, Action::Replay, visitor, body).await
}

/// `POST dead/discard`: as `relay dlq discard --event-id …`, but never without a reason.
pub(super) async fn discard(
    State(page): State<Page>,
    Path(name): Path<String>,
    Extension(visitor): Extension<Visitor>,
    body: Body,
) -> Result<Response, Problem> {
    deal_with(page.outbox(&name)?, Action::Discard, visitor, body).await
}

async fn deal_with(
    outbox: &Watched,
    action: Action,
    Visitor { actor, .. }: Visitor,
    body: Body,
) -> Result<Response, Problem> {
    let Rows { mut event_ids, note } = input::body(body).await?;
    event_ids.sort_unstable();
    event_ids.dedup();
    if event_ids.is_empty() || event_ids.len() > ROWS {
        return Err(Problem::bad(format!("event_ids names {} rows", event_ids.len()))
            .cure(format!("name 1 to {ROWS}; the command line deals with any number")));
    }
    let note = input::note(note)?;
    if action == Action::Discard && note.is_none() {
        return Err(
            Problem::bad("note is not there").cure("say why these rows are to be published by nobody")
        );
    }
    let session = outbox.session().await?;
    let done = session
        .answer(async {
            let now = database_now(session.client()).await?;
            // What dies while this runs, perhaps because of it, is for another time.
            let filter = Filter { event_ids: Some(event_ids), until_us: Some(now), ..Filter::default() };
            let dead = DeadRows::new(session.client(), outbox.schema());
            let rows = dead.list(&filter, 0, ROWS as u64).await?;
            let beyond = if action == Action::Replay { dead.beyond_horizon(&rows).await? } else { 0 };
            let order = Order { action, filter, limit: None, rate: None, actor: actor.clone(), note };
            // Nobody stops it; a request that is cut off ends between two batches or with one.
            let (_go_on, mut stop) = watch::channel(false);
            let report = act(session.client(), outbox.schema(), &order, &mut stop, |_| {}).await;
            Ok((rows.len(), beyond, report))
        })
        .await;
    let (matched, beyond, report) = match done {
        Ok(done) => done,
        Err(error) => return session.settle(Err(error)),
    };
    let rows = report.rows;
    if rows > 0 {
        tracing::info!(outbox = outbox.name, actor, rows, "{actor} {} {rows} dead rows", action.done());
    }
    let complete = match report.ended {
        Ended::Failed(error) if rows == 0 => return session.settle(Err(error)),
        Ended::Failed(error) => {
            tracing::warn!("after {} {rows} dead rows: {}", action.done(), error.with_cure());
            false
        }
        Ended::Complete => true,
        Ended::Interrupted => false,
    };
    let removed = match complete && rows > 0 {
        true => sweep(outbox, session).await,
        false => {
            session.settle(Ok(()))?;
            None
        }
    };
    Ok(json_of(&json!({
        "action": action.verb(),
        "matched": matched,
        "done": rows,
        "complete": complete,
        "stale_letters_removed": removed,
        "beyond_horizon": beyond,
    })))
}

/// Removes notices of rows that have moved on, as far as that is possible soon: they change nothing, and the next one removes
/// what this one can't. Returns how many went.
async fn sweep(outbox: &Watched, session: Session<'_>) -> Option<u64> {
    let swept = async {
        let broker =
            amqp::Session::connect(&outbox.amqp, "relay page").await.map_err(|error| error.to_string())?;
        let swept =
            letters::sweep(&broker, &outbox.dead_letter_queue, session.client(), outbox.schema()).await;
        broker.close(Duration::from_secs(1)).await;
        swept.map_err(|error| crate::cause::chain(&error))
    };
    match tokio::time::timeout(SWEEP, swept).await {
        Ok(Ok(swept)) => {
            // Nothing is wrong with the session.
            let _ = session.settle(Ok(()));
            Some(swept.removed)
        }
        // A session that may be in the middle of something is closed.
        Ok(Err(error)) => {
            tracing::info!("stale letters stay in {}, which does no harm: {error}", outbox.dead_letter_queue);
            None
        }
        Err(_) => None,
    }
}
