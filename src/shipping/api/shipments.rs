//! `/shipments`.

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    answer::{json_type, tagged, value},
    body::{self, Name},
    check::is_order_id,
    conditional, key,
    problem::{Code, FieldError, Problem},
    shipment_input::{BATCH, BatchInput, BatchItem, CancelInput, ShipmentInput},
    state::{Api, Call},
};
use crate::shipping::{
    saga::Input,
    store::{Action, Answer, Created, Deed, Keyed, NewShipment, StoreError},
};

/// When to look at a shipment that was just accepted, in seconds.
const LOOK: u64 = 1;
/// Shipments on a page.
const PAGE: i64 = 100;
/// Items of a batch at work at a time: a batch is to leave connections to others.
const AT_A_TIME: usize = 2;

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// An answer, and whether it was given before.
struct Answered {
    answer: Answer,
    replayed: bool,
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        let status =
            u16::try_from(self.answer.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let mut response = (status.unwrap_or(StatusCode::OK), self.answer.body).into_response();
        let headers: Map<String, Value> = serde_json::from_str(&self.answer.headers).unwrap_or_default();
        for (name, text) in &headers {
            if let (Ok(name), Some(text)) = (name.parse::<HeaderName>(), text.as_str()) {
                response.headers_mut().insert(name, value(text));
            }
        }
        if self.replayed {
            response.headers_mut().insert("idempotency-replayed", value("true"));
        }
        response
    }
}

/// `POST /shipments`.
pub(super) async fn create(
    State(api): State<Api>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = key_of(&headers)?;
    let limits = api.settings.limits;
    let input: ShipmentInput = body::read_json(&headers, body, limits.body, limits.arrival).await?;
    input.check().map_err(Problem::invalid)?;
    Ok(accept(&api, &call, &input, key).await?.into_response())
}

/// `POST /shipments/batch`: each item by itself, under a key of its own.
pub(super) async fn batch(
    State(api): State<Api>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let limits = api.settings.limits;
    let input: BatchInput = body::read_json(&headers, body, limits.longest(), limits.arrival).await?;
    if !(1..=BATCH).contains(&input.shipments.len()) {
        let detail = format!("there must be 1 to {BATCH} shipments");
        return Err(Problem::invalid(vec![FieldError::new("/shipments", detail)]));
    }
    let items = stream::iter(input.shipments).map(|item| {
        let (api, call) = (api.clone(), call.clone());
        async move { accept_item(&api, &call, &item).await }
    });
    let entries: Vec<Value> = items.buffered(AT_A_TIME).collect().await;
    let body = json!({ "shipments": entries }).to_string();
    Ok((StatusCode::MULTI_STATUS, [json_type()], body).into_response())
}

/// What came of an item: what a request of its own would have been answered.
async fn accept_item(api: &Api, call: &Call, item: &BatchItem) -> Value {
    let accepted = async {
        key::check(&item.idempotency_key).map_err(|wrong| {
            let error = FieldError::new("/idempotency_key", wrong);
            Problem::with(Code::KeyMalformed, vec![error])
        })?;
        item.shipment.check().map_err(Problem::invalid)?;
        accept(api, call, &item.shipment, item.idempotency_key.clone()).await
    };
    let (status, body, replayed) = match accepted.await {
        Ok(Answered { answer, replayed }) => {
            (json!(answer.status), serde_json::from_slice(&answer.body).unwrap_or_default(), replayed)
        }
        Err(problem) => (json!(problem.code.status().as_u16()), problem.to_value(), false),
    };
    json!({ "idempotency_key": item.idempotency_key, "status": status, "replayed": replayed, "body": body })
}

/// Accepts a shipment, once for a key.
async fn accept(api: &Api, call: &Call, input: &ShipmentInput, key: String) -> Result<Answered, Problem> {
    let shipment_id = Uuid::now_v7();
    let body = json!({ "shipment_id": shipment_id, "order_id": input.order_id, "state": "accepted" });
    let keyed = keyed(api, call, key, ("POST /shipments", &canonical(input)?), shipment_id, &body);
    let mut lent = api.pool.lend_soon().await?;
    let seat = &mut lent.seat;
    let accepting = async {
        let tx = seat.connection.begin().await.map_err(StoreError::from)?;
        let origin = api.store.origin(&tx, &input.order_id).await?;
        let (ship_to, parties) = origin.ok_or_else(|| {
            let error = FieldError::new("/order_id", "there is no such order; PUT it first");
            Problem::with(Code::NoSuchOrder, vec![error])
        })?;
        let ship_to = match &input.ship_to {
            Some(address) => canonical(address)?,
            None => ship_to,
        };
        let new = NewShipment {
            shipment_id,
            order_id: input.order_id.clone(),
            caller: call.caller.name.clone(),
            ship_to,
            ship_from: canonical(&input.ship_from)?,
            cases: input.new_cases(Uuid::now_v7),
            parties,
        };
        let headers = call.trace.headers();
        let created = api.store.create(&tx, &new, Some(&keyed), &headers).await?;
        if created == Created::New {
            tx.commit().await.map_err(StoreError::from)?;
        }
        Ok(created)
    };
    let created = accepting.await;
    answered(api, lent.settle(created)?, keyed)
}

/// `GET /shipments?order=`.
pub(super) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let [order, after] = body::query(query.as_deref(), ["order", "after"])?;
    let wrong = |what: &str| Problem::new(Code::InvalidParameter, what);
    let order =
        order.filter(|order| is_order_id(order)).ok_or_else(|| wrong("order: give the id of an order"))?;
    let after = after.map(|after| Uuid::try_parse(&after)).transpose();
    let after = after.map_err(|_| wrong("after: give the id of the last shipment of the page before"))?;
    let lent = api.pool.lend_soon().await?;
    let shown = api.store.shipments_of(&lent.seat.connection.client, &order, after, PAGE + 1).await;
    let mut shown = lent.settle(shown.map_err(Problem::from))?;
    let more = i64::try_from(shown.len()).is_ok_and(|length| length > PAGE);
    shown.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    let next = shown.last().filter(|_| more).map(|(id, _)| id);
    let shipments: Vec<&str> = shown.iter().map(|(_, body)| body.as_str()).collect();
    let body = format!(r#"{{"shipments":[{}],"after":{}}}"#, shipments.join(","), json!(next));
    Ok(([json_type()], body).into_response())
}

/// `GET /shipments/{id}`, at once or when it changes.
pub(super) async fn show(
    State(api): State<Api>,
    Name(id): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = body::id(&id, "shipment")?;
    let [wait] = body::query(query.as_deref(), ["wait"])?;
    let most = api.settings.limits.wait;
    let wait = wait.map_or(Some(0), |wait| wait.parse::<u64>().ok().filter(|wait| *wait <= most.as_secs()));
    let wait = wait.ok_or_else(|| {
        Problem::new(Code::InvalidParameter, format!("wait: give whole seconds, {} at most", most.as_secs()))
    })?;
    let known = body::tags(&headers, &header::IF_NONE_MATCH)?;
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(wait);
    // Registered before looking, so that no change falls between.
    let mut watched = (wait > 0).then(|| api.waiting.watch(id)).flatten();
    loop {
        let lent = api.pool.lend_soon().await?;
        let shown = api.store.show(&lent.seat.connection.client, id).await;
        let shown = lent.settle(shown.map_err(Problem::from))?;
        let shown = shown.ok_or_else(|| Problem::from(StoreError::NoShipment(id)))?;
        let tag = conditional::tag(shown.version, &shown.body);
        let is_known = known.as_ref().is_some_and(|known| known.weakly(&tag));
        // With a tag, for something else than that; without, for a state in which nothing more comes by itself.
        let news = if known.is_some() { !is_known } else { shown.standing.rests() };
        let gone_on = match &mut watched {
            Some(watched) if !news => watched.beyond(shown.version, until, api.stop.clone()).await,
            _ => false,
        };
        if gone_on {
            continue;
        }
        return Ok(tagged(&tag, is_known, shown.body));
    }
}

/// `POST /shipments/{id}/cancel`.
pub(super) async fn cancel(
    State(api): State<Api>,
    Extension(call): Extension<Call>,
    Name(id): Name,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = body::id(&id, "shipment")?;
    let key = key_of(&headers)?;
    let limits = api.settings.limits;
    let input: CancelInput = body::read_json(&headers, body, limits.body, limits.arrival).await?;
    input.check().map_err(Problem::invalid)?;
    let operation = format!("POST /shipments/{id}/cancel");
    let body = json!({ "shipment_id": id, "cancellation": "accepted" });
    let keyed = keyed(&api, &call, key, (&operation, &canonical(&input)?), id, &body);
    let mut lent = api.pool.lend_soon().await?;
    let seat = &mut lent.seat;
    let cancelling = async {
        let tx = seat.connection.begin().await.map_err(StoreError::from)?;
        // The lock first: a key that names a shipment which is not there would be an error of the database's.
        api.store.lock(&tx, id).await?;
        let created = api.store.once(&tx, &keyed, Some(id)).await?;
        if created == Created::New {
            let caller = &call.caller.name;
            let reason = format!("cancelled by {caller}: {}", input.reason);
            api.store.take(&tx, id, &Input::Cancel, Some(&reason), &call.trace.headers()).await?;
            let detail = json!({ "request_id": call.trace.request_id }).to_string();
            let (action, reason) = (Action::Cancel, input.reason.as_str());
            let deed = Deed { actor: caller, action, shipment_id: id, key: None, reason, detail: &detail };
            api.store.record(&tx, &deed).await?;
            tx.commit().await.map_err(StoreError::from)?;
        }
        Ok(created)
    };
    let created = cancelling.await;
    Ok(answered(&api, lent.settle(created)?, keyed)?.into_response())
}

/// The request's key.
fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let missing =
        "send Idempotency-Key: a string of your own, such as a UUID, the same for each try of a request";
    let value = values.next().ok_or_else(|| Problem::new(Code::KeyMissing, missing))?;
    if values.next().is_some() {
        return Err(Problem::new(Code::KeyMalformed, "it is there more than once"));
    }
    key::read(value.as_bytes()).map_err(|wrong| Problem::new(Code::KeyMalformed, wrong))
}

/// The answer to a request that is done by this very transaction, under its key.
fn keyed(
    api: &Api,
    call: &Call,
    key: String,
    (operation, input): (&str, &str),
    shipment_id: Uuid,
    body: &Value,
) -> Keyed {
    let headers = json!({
        "content-type": "application/json",
        "location": format!("/shipments/{shipment_id}"),
        "retry-after": LOOK.to_string(),
    });
    Keyed {
        caller: call.caller.name.clone(),
        key,
        fingerprint: key::fingerprint(operation, input),
        lifetime: api.settings.key_lifetime,
        answer: Answer { status: 202, headers: headers.to_string(), body: body.to_string().into_bytes() },
    }
}

fn answered(api: &Api, created: Created, keyed: Keyed) -> Result<Answered, Problem> {
    match created {
        Created::New => Ok(Answered { answer: keyed.answer, replayed: false }),
        Created::Replayed(answer) => {
            api.metrics.replays.inc();
            Ok(Answered { answer, replayed: true })
        }
        Created::Mismatched => Err(Problem::new(
            Code::KeyReused,
            "its first request was another one; choose a new key for this one",
        )),
    }
}

pub(super) fn canonical(value: &impl serde::Serialize) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(|error| Problem::from(StoreError::Payload(error)))
}
