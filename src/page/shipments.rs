//! Shipments, where shipping's tables lie beside the outbox: as `shipments list` and `shipments show` print them.

use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Page,
    input::{Query, parsed},
    problem::{Problem, json_of},
};
use crate::shipping::{shipment::Standing, store::Listed};

/// Shipments of a list at most.
const LISTED: u64 = 100;

/// `GET shipments`: the longest unchanged first.
pub(super) async fn list(
    State(page): State<Page>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), &["order", "state", "limit"])?;
    let states: Vec<_> = Standing::ALL.iter().map(|state| state.as_str()).collect();
    let state: Option<Standing> = query.parsed("state", &format!("one of {}", states.join(", ")))?;
    let state = state.map(Standing::as_str);
    let order = query.one("order")?;
    let limit = i64::try_from(query.number("limit", LISTED, LISTED)?).unwrap_or(i64::MAX);
    let outbox = page.outbox(&name)?;
    let session = outbox.session().await?;
    let listed =
        session.answer(async { Ok(outbox.store.list(session.client(), state, order, limit).await) }).await;
    let listed = session.settle(listed)??;
    Ok(json_of(&json!({ "rows": listed.iter().map(Listed::to_json).collect::<Vec<_>>() })))
}

/// `GET shipments/{shipment}`: with its ledger.
pub(super) async fn show(
    State(page): State<Page>,
    Path((name, shipment)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let id: Uuid = parsed(
        "the shipment",
        &shipment,
        "a shipment's id (a UUID); shipments?order= finds those of an order",
    )?;
    let outbox = page.outbox(&name)?;
    let session = outbox.session().await?;
    let sheet = session.answer(async { Ok(outbox.store.sheet(session.client(), id).await) }).await;
    let sheet = session.settle(sheet)??;
    // The text is Postgres' own JSON. What serde could not take is better shown as it is than not at all.
    Ok(json_of(&serde_json::from_str(&sheet).unwrap_or(Value::String(sheet))))
}
