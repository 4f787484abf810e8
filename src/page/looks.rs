//! What is looked at: as the command line's read commands print it.

use axum::{
    Extension,
    extract::{Path, RawQuery, State},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    Page,
    access::May,
    gate::Visitor,
    input::{Query, parsed},
    problem::{Problem, json_of},
};
use crate::{
    operator::{
        audit::{self, Entries, Entry},
        dead::{Which, database_now},
        keys::{Key, Timeline},
        pauses,
        status::Status,
        trace::{Step, trace as steps_of},
        when::When,
    },
    outbox::pauses::PauseTable,
};

/// Rows of a key that are shown at most.
const TIMELINE: i64 = 50;
/// Rows of a page, unless it says otherwise, and at most.
pub(super) const PAGE: (u64, u64) = (50, 200);

/// `GET /api/session`: what may be asked for.
pub(super) async fn session(State(page): State<Page>, Extension(visitor): Extension<Visitor>) -> Response {
    let (read, operate) = (visitor.may >= May::Read, visitor.may >= May::Operate);
    let sign_in = page.0.access.has_operators();
    let why_not = match (read, operate, sign_in) {
        (_, true, _) => None,
        (false, ..) => Some("page.read_token is set: looking takes it, or page.operator_token"),
        (true, false, true) => Some("changing anything takes page.operator_token"),
        (true, false, false) => Some(
            "page.operator_token is not set, so the page only shows: set it (RELAY_PAGE_OPERATOR_TOKEN, or \
             RELAY_PAGE_OPERATOR_TOKEN_FILE) and start relay again",
        ),
    };
    let mut shipping = false;
    if read {
        for outbox in &page.0.outboxes {
            shipping = shipping || outbox.has_shipping().await;
        }
    }
    let names: Vec<_> = page.0.outboxes.iter().filter(|_| read).map(|outbox| &outbox.name).collect();
    let mut session = json!({
        "version": read.then_some(env!("CARGO_PKG_VERSION")),
        "outboxes": names,
        "may": { "read": read, "operate": operate },
        "sign_in": sign_in,
        "shipping": shipping,
    });
    if let (Some(why_not), Value::Object(session)) = (why_not, &mut session) {
        session.insert("why_not".to_owned(), why_not.into());
    }
    json_of(&session)
}

/// `GET status`: as `relay status -o json`, and what this relay knows of itself.
pub(super) async fn status(
    State(page): State<Page>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let outbox = page.outbox(&name)?;
    let read = async {
        let session = outbox.session().await?;
        let status = session.answer(Status::read(session.client(), outbox.schema())).await;
        session.settle(status)
    };
    match read.await {
        Ok(status) => {
            let mut status = status.to_json();
            if let Value::Object(members) = &mut status {
                members.insert("relay".to_owned(), outbox.relay());
            }
            Ok(json_of(&status))
        }
        Err(problem) => Err(problem.with("relay", outbox.relay())),
    }
}

/// `GET history`: for the charts.
pub(super) async fn history(
    State(page): State<Page>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), &["minutes"])?;
    let minutes = query.number("minutes", 60, 1440)?;
    Ok(json_of(&page.outbox(&name)?.history(usize::try_from(minutes).unwrap_or(60))))
}

/// `GET pauses`: as `relay pauses -o json`.
pub(super) async fn pauses(
    State(page): State<Page>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let outbox = page.outbox(&name)?;
    let session = outbox.session().await?;
    let table = PauseTable::new(outbox.schema());
    let standing = session.answer(table.list(session.client())).await;
    let standing = session.settle(standing)?;
    Ok(json_of(&standing.iter().map(pauses::to_json).collect()))
}

/// `GET key`: as `relay key show -o json`, with the key's latest rows.
pub(super) async fn key(
    State(page): State<Page>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), &["aggregate_type", "aggregate_id"])?;
    let (aggregate_type, aggregate_id) = (query.needed("aggregate_type")?, query.needed("aggregate_id")?);
    let outbox = page.outbox(&name)?;
    let session = outbox.session().await?;
    let found = session
        .answer(async {
            let (client, schema) = (session.client(), outbox.schema());
            let held = Key::find(client, schema, aggregate_type, aggregate_id).await?;
            let timeline = Timeline::read(client, schema, aggregate_type, aggregate_id, TIMELINE).await?;
            Ok((held, timeline))
        })
        .await;
    let (held, timeline) = session.settle(found)?;
    if held.is_none() && timeline.rows.is_empty() {
        return Err(Problem::missing(format!(
            "nothing holds the key {aggregate_type}/{aggregate_id} up, and it has no rows that are dead, waiting or recent"
        )));
    }
    let way_on = held.as_ref().and_then(Key::way_on).map(|way| way.verb());
    let key = held.as_ref().map_or_else(
        || json!({ "aggregate_type": aggregate_type, "aggregate_id": aggregate_id, "reason": null }),
        Key::to_json,
    );
    let mut key = members(key);
    key.insert("way_on".to_owned(), json!(way_on));
    key.extend(members(timeline.to_json()));
    Ok(json_of(&Value::Object(key)))
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// `GET trace/{event}`: as `relay trace -o json`.
pub(super) async fn trace(
    State(page): State<Page>,
    Path((name, event)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let which: Which = parsed("the event", &event, "an event id (a UUID) or a seq (a number)")?;
    let outbox = page.outbox(&name)?;
    let session = outbox.session().await?;
    let steps = session.answer(steps_of(session.client(), outbox.schema(), which)).await;
    let steps = session.settle(steps)?;
    if steps.is_empty() {
        let hint = "a row may have been removed, and no inbox here has the message";
        return Err(Problem::missing(format!("nothing is known of {event}: {hint}")));
    }
    Ok(json_of(&steps.iter().map(Step::to_json).collect()))
}

/// `GET audit`: as `relay audit list -o json`, a page at a time.
pub(super) async fn audit(
    State(page): State<Page>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), &["since", "actor", "action", "after", "limit"])?;
    let limit = query.number("limit", PAGE.0, PAGE.1)?;
    let since: Option<When> = query.parsed("since", When::EXPECTED)?;
    let (actor, action) = (query.one("actor")?.map(str::to_owned), query.one("action")?.map(str::to_owned));
    let before = query.parsed("after", "the audit_id that a page ended with")?;
    let outbox = page.outbox(&name)?;
    let session = outbox.session().await?;
    let entries = session
        .answer(async {
            let now = database_now(session.client()).await?;
            let since_us = since.map(|when| when.micros(now));
            let which = Entries { since_us, actor, action, before };
            audit::list(session.client(), outbox.schema(), &which, limit.saturating_add(1)).await
        })
        .await;
    let mut entries = session.settle(entries)?;
    let next = cut(&mut entries, limit, |entry| json!(entry.id));
    Ok(json_of(&json!({ "rows": entries.iter().map(Entry::to_json).collect::<Vec<_>>(), "next": next })))
}

/// Cuts one more than was asked for off again; returns where the next page begins, if there is one.
pub(super) fn cut<T>(rows: &mut Vec<T>, limit: u64, place: impl Fn(&T) -> Value) -> Value {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().filter(|_| more).map_or(Value::Null, place)
}
