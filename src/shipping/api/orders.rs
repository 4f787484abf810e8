//! `/orders/{id}`.

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    answer::{etag, json_type, tagged, value},
    body::{self, Name},
    check::is_order_id,
    conditional::Tags,
    order_input::{OrderInput, conflicts, is_same},
    problem::{Code, FieldError, Problem},
    state::{Api, Call},
};
use crate::{
    postgres::pool::Seat,
    shipping::store::{NewOrder, NewParty, StoreError},
};

/// So many times the usual size: an order may have a thousand lines.
const BODIES: usize = 4;

/// What a request is ready to find.
struct Expected {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// What became of an order.
enum Put {
    Created,
    Changed(i64),
    Same(i64),
}

/// `GET /orders/{id}`: as the latest event told it.
pub(super) async fn show(
    State(api): State<Api>,
    Name(id): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = order_id(&id)?;
    let [at_least] = body::query(query.as_deref(), ["min_version"])?;
    let at_least = at_least.map(|version| version.parse::<u32>()).transpose();
    let at_least =
        at_least.map_err(|_| Problem::new(Code::InvalidParameter, "min_version: give a version"))?;
    let known = body::tags(&headers, &header::IF_NONE_MATCH)?;
    let lent = api.pool.lend_soon().await?;
    let client = &lent.seat.connection.client;
    let looking = async {
        let view = api.store.order_view(client, id).await?;
        let view = view.filter(|view| at_least.is_none_or(|least| view.version >= i64::from(least)));
        // Before its first event, or when that is too old for whoever asks.
        Ok::<_, StoreError>(match view {
            Some(view) => Some(view),
            None => api.store.show_order(client, id).await?,
        })
    };
    let shown = looking.await.map_err(Problem::from);
    let shown = lent.settle(shown)?.ok_or_else(|| no_order(id))?;
    let tag = shown.version.to_string();
    Ok(tagged(&tag, known.is_some_and(|known| known.weakly(&tag)), shown.body))
}

/// `PUT /orders/{id}`: adds it, or changes it if it is as the caller knows it.
pub(super) async fn put(
    State(api): State<Api>,
    Extension(call): Extension<Call>,
    Name(id): Name,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = order_id(&id)?;
    let expected = Expected {
        if_match: body::tags(&headers, &header::IF_MATCH)?,
        if_none_match: body::tags(&headers, &header::IF_NONE_MATCH)?,
    };
    let limits = api.settings.limits;
    let limit = limits.body.saturating_mul(BODIES);
    let input: OrderInput = body::read_json(&headers, body, limit, limits.arrival).await?;
    let order = input.order(id).map_err(Problem::invalid)?;
    let mut lent = api.pool.lend_soon().await?;
    let put = put_order(&api, &call, &mut lent.seat, &order, &expected).await;
    let (status, version) = match lent.settle(put)? {
        Put::Created => (StatusCode::CREATED, 1),
        Put::Changed(version) | Put::Same(version) => (StatusCode::OK, version),
    };
    let body = json!({ "order_id": id, "version": version }).to_string();
    let location = (header::LOCATION, value(&format!("/orders/{id}")));
    Ok((status, [etag(&version.to_string()), json_type(), location], body).into_response())
}

async fn put_order(
    api: &Api,
    call: &Call,
    seat: &mut Seat<()>,
    order: &NewOrder,
    expected: &Expected,
) -> Result<Put, Problem> {
    let headers = call.trace.headers();
    let tx = seat.connection.begin().await.map_err(StoreError::from)?;
    let now = api.store.lock_order(&tx, &order.order_id).await?;
    let known: &[NewParty] = now.as_ref().map_or(&[], |now| &now.parties);
    let endpoints = new_endpoints(known, &order.parties);
    if !endpoints.is_empty() {
        let usable = api.store.usable_endpoints(&tx, &call.caller.name, &endpoints).await?;
        let strangers = order.parties.iter().enumerate().filter_map(|(index, party)| {
            let endpoint = party.address.endpoint()?;
            (endpoints.contains(&endpoint) && !usable.contains(&endpoint)).then(|| {
                let detail = "it is no webhook endpoint of yours that is in use";
                FieldError::new(format!("/parties/{index}/endpoint_id"), detail)
            })
        });
        let strangers: Vec<FieldError> = strangers.collect();
        if !strangers.is_empty() {
            return Err(Problem::invalid(strangers));
        }
    }
    let Some(now) = now else {
        if expected.if_match.is_some() {
            return Err(Problem::new(Code::PreconditionFailed, "there is no such order"));
        }
        if !api.store.place_order(&tx, order, &headers).await? {
            return Err(Problem::new(Code::PreconditionFailed, "somebody else has just added it"));
        }
        tx.commit().await.map_err(StoreError::from)?;
        return Ok(Put::Created);
    };
    let version = now.version.to_string();
    if expected.if_none_match.as_ref().is_some_and(|tags| tags.weakly(&version)) {
        return Err(Problem::new(Code::PreconditionFailed, "there is such an order already"));
    }
    if expected.if_match.as_ref().is_some_and(|tags| !tags.strongly(&version)) {
        let detail = format!("its version is {version} by now: read it, and decide again");
        return Err(Problem::new(Code::PreconditionFailed, detail));
    }
    // A repeated request finds that it was done.
    if is_same(&now, order) {
        return Ok(Put::Same(now.version));
    }
    if expected.if_match.is_none() {
        let detail =
            "there is such an order, and it is another one: send If-Match with its ETag to change it";
        return Err(Problem::new(Code::PreconditionRequired, detail));
    }
    let conflicts = conflicts(&now, order);
    if !conflicts.is_empty() {
        return Err(Problem::with(Code::OrderConflict, conflicts));
    }
    let version = api.store.change_order(&tx, order, &headers).await?;
    tx.commit().await.map_err(StoreError::from)?;
    Ok(Put::Changed(version))
}

/// Endpoints that the order does not name yet: those it names may be another caller's.
fn new_endpoints(known: &[NewParty], parties: &[NewParty]) -> Vec<Uuid> {
    let named: Vec<Uuid> = known.iter().filter_map(|party| party.address.endpoint()).collect();
    let wanted = parties.iter().filter_map(|party| party.address.endpoint());
    wanted.filter(|endpoint| !named.contains(endpoint)).collect()
}

fn order_id(id: &str) -> Result<&str, Problem> {
    if is_order_id(id) { Ok(id) } else { Err(no_order(id)) }
}

fn no_order(id: &str) -> Problem {
    let id: String = id.chars().take(100).collect();
    Problem::new(Code::NotFound, format!("there is no order {id:?}"))
}
