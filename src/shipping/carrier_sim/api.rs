//! The carrier's API: from a call to an answer, an entry in the ledger, and news for webhooks.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    book::{Entry, Offer, RefundOutcome, Shipment},
    ledger::{Ledger, LedgerError},
    script::Route,
};

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// What webhooks tell.
    pub news: Option<News>,
}

/// What a webhook tells.
#[derive(Debug, Clone)]
pub struct News {
    /// Such as `tracker.updated`.
    pub description: &'static str,
    /// The object that changed.
    pub result: Value,
}

/// The most shipments of one page.
const PAGE: usize = 100;

/// Which call this is, and of which object.
#[must_use]
pub fn route<'a>(method: &str, path: &'a str) -> Option<(Route, &'a str)> {
    let path = path.strip_prefix("/v2/")?;
    let segments: Vec<&str> = path.split('/').collect();
    match (method, segments.as_slice()) {
        ("POST", ["addresses"]) => Some((Route::VerifyAddress, "")),
        ("POST", ["shipments"]) => Some((Route::Create, "")),
        ("GET", ["shipments"]) => Some((Route::List, "")),
        ("GET", ["shipments", id]) => Some((Route::Retrieve, id)),
        ("POST", ["shipments", id, "buy"]) => Some((Route::Buy, id)),
        ("POST", ["shipments", id, "refund"]) => Some((Route::Refund, id)),
        ("GET", ["trackers", id]) => Some((Route::Tracker, id)),
        _ => None,
    }
}

/// A call, as far as its work goes.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Which.
    pub route: Route,
    /// Of which object.
    pub id: &'a str,
    /// The query.
    pub query: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Milliseconds since the Unix epoch.
    pub now: u64,
    /// How a refund goes.
    pub refund: (Duration, RefundOutcome),
}

/// Does the work. What it changed is in the ledger, on disk, when this returns.
///
/// # Errors
/// When the ledger can't be written.
pub fn work(ledger: &mut Ledger, call: &Call<'_>) -> Result<Reply, LedgerError> {
    let body: Value = serde_json::from_slice(call.body).unwrap_or(Value::Null);
    match call.route {
        Route::VerifyAddress => Ok(verify_address(&body, call.now)),
        Route::Create => create(ledger, &body, call.now),
        Route::Buy => buy(ledger, call, &body),
        Route::Refund => refund(ledger, call),
        Route::List => Ok(list(ledger, call.query)),
        Route::Retrieve => {
            Ok(ledger.book().get(call.id).map_or_else(not_found, |shipment| ok(200, shipment_json(shipment))))
        }
        Route::Tracker => Ok(ledger
            .book()
            .by_tracker(call.id)
            .map_or_else(not_found, |shipment| ok(200, tracker_json(shipment).unwrap_or(Value::Null)))),
        Route::Any => Ok(not_found()),
    }
}

fn ok(status: u16, body: Value) -> Reply {
    Reply { status, body, news: None }
}

/// An error as the carrier writes it.
#[must_use]
pub fn error(status: u16, code: &str, message: &str) -> Reply {
    ok(status, json!({"error": {"code": code, "message": message, "errors": []}}))
}

fn not_found() -> Reply {
    error(404, "NOT_FOUND", "The requested resource could not be found.")
}

fn new_id(kind: &str) -> String {
    format!("{kind}_{}", Uuid::new_v4().simple())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Milliseconds as the carrier writes times.
#[must_use]
pub fn written(at: u64) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_millis(at)).to_string()
}

fn verify_address(body: &Value, now: u64) -> Reply {
    let address = &body["address"];
    let street = text(address, "street1");
    if street.is_empty() || text(address, "country").len() != 2 {
        return error(422, "PARAMETER.REQUIRED", "An address needs a street1 and a country.");
    }
    if street.to_lowercase().contains("undeliverable") {
        let mut reply = error(422, "ADDRESS.VERIFY.FAILURE", "Unable to verify address.");
        reply.body["error"]["errors"] =
            json!([{"field": "street1", "message": "House number is invalid", "suggestion": null}]);
        return reply;
    }
    let mut verified = address.clone();
    for field in ["name", "company", "street1", "street2", "city", "state"] {
        if let Some(text) = address[field].as_str() {
            verified[field] = json!(text.to_uppercase());
        }
    }
    verified["id"] = json!(new_id("adr"));
    verified["object"] = json!("Address");
    verified["created_at"] = json!(written(now));
    let good = json!({"success": true, "errors": [], "details": null});
    verified["verifications"] = json!({"delivery": good, "zip4": good});
    ok(201, verified)
}

fn create(ledger: &mut Ledger, body: &Value, now: u64) -> Result<Reply, LedgerError> {
    let request = &body["shipment"];
    let Some(weight) = request["parcel"]["weight"].as_f64().filter(|weight| (0.1..=2_400.0).contains(weight))
    else {
        return Ok(error(422, "PARAMETER.REQUIRED", "A parcel needs a weight from 0.1 to 2400 ounces."));
    };
    if !(request["to_address"].is_object() && request["from_address"].is_object()) {
        return Ok(error(422, "PARAMETER.REQUIRED", "A shipment needs a to_address and a from_address."));
    }
    // Within 2,400 ounces this is exact.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let base = 400 + (weight * 10.0) as u64;
    let offer = |service: &str, cents| Offer { id: new_id("rate"), service: service.to_owned(), cents };
    let rates =
        vec![offer("GroundAdvantage", base), offer("Priority", base + 250), offer("Express", base * 3)];
    let id = new_id("shp");
    let reference = request["reference"].as_str().map(str::to_owned);
    let created = Entry::Created { at: now, id: id.clone(), reference, request: request.clone(), rates };
    ledger.append(&created)?;
    Ok(ledger.book().get(&id).map_or_else(not_found, |shipment| ok(201, shipment_json(shipment))))
}

fn buy(ledger: &mut Ledger, call: &Call<'_>, body: &Value) -> Result<Reply, LedgerError> {
    let Some(shipment) = ledger.book().get(call.id) else { return Ok(not_found()) };
    if shipment.sale.is_some() {
        return Ok(error(422, "SHIPMENT.POSTAGE.EXISTS", "Postage already exists for this shipment."));
    }
    let rate_id = text(&body["rate"], "id").to_owned();
    if !shipment.rates.iter().any(|offer| offer.id == rate_id) {
        return Ok(error(422, "SHIPMENT.RATE.INVALID", "This is not a rate of this shipment."));
    }
    if text(&shipment.request["to_address"], "zip") == "00000" {
        return Ok(error(422, "SHIPMENT.POSTAGE.FAILURE", "The carrier does not serve this postal code."));
    }
    let tracking_code = format!("94{:020}", Uuid::new_v4().as_u128() % 10_u128.pow(20));
    let tracker_id = new_id("trk");
    ledger.append(&Entry::Bought {
        at: call.now,
        id: call.id.to_owned(),
        rate_id,
        tracking_code,
        tracker_id,
    })?;
    let Some(shipment) = ledger.book().get(call.id) else { return Ok(not_found()) };
    let news = tracker_json(shipment).map(|result| News { description: "tracker.created", result });
    Ok(Reply { status: 200, body: shipment_json(shipment), news })
}

fn refund(ledger: &mut Ledger, call: &Call<'_>) -> Result<Reply, LedgerError> {
    let Some(shipment) = ledger.book().get(call.id) else { return Ok(not_found()) };
    if shipment.sale.is_none() {
        return Ok(error(422, "SHIPMENT.REFUND.UNAVAILABLE", "This shipment has not been bought."));
    }
    // A refund under way or done stays; one that was rejected is tried again.
    let stays = shipment
        .refund
        .as_ref()
        .is_some_and(|refund| refund.due.is_some() || refund.outcome != RefundOutcome::Rejected);
    if !stays {
        let (after, outcome) = call.refund;
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let due = (outcome != RefundOutcome::NotApplicable).then(|| call.now.saturating_add(after));
        let (id, refund_id) = (call.id.to_owned(), new_id("rfnd"));
        ledger.append(&Entry::RefundAsked { at: call.now, id, refund_id, due, outcome })?;
    }
    Ok(ledger.book().get(call.id).map_or_else(not_found, |shipment| ok(200, shipment_json(shipment))))
}

fn list(ledger: &Ledger, query: &str) -> Reply {
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
    };
    let size = value("page_size").and_then(|size| size.parse().ok()).unwrap_or(20).clamp(1, PAGE);
    let purchased = value("purchased").map(|purchased| purchased == "true");
    let start = value("start_datetime").and_then(|start| humantime::parse_rfc3339(start).ok());
    let start = start.and_then(|start| start.duration_since(SystemTime::UNIX_EPOCH).ok());
    let start = start.map_or(0, |start| u64::try_from(start.as_millis()).unwrap_or(u64::MAX));
    let mut past = value("before_id").is_none();
    let mut shipments: Vec<&Shipment> = ledger
        .book()
        .newest_first()
        .filter(|shipment| {
            let was_past = past;
            past |= value("before_id") == Some(shipment.id.as_str());
            was_past
        })
        .filter(|shipment| purchased.is_none_or(|purchased| shipment.sale.is_some() == purchased))
        .filter(|shipment| shipment.created >= start)
        .take(size + 1)
        .collect();
    let has_more = shipments.len() > size;
    shipments.truncate(size);
    let shipments: Vec<Value> = shipments.into_iter().map(shipment_json).collect();
    ok(200, json!({"shipments": shipments, "has_more": has_more}))
}

fn offer_json(offer: &Offer) -> Value {
    json!({
        "id": offer.id, "object": "Rate", "carrier": "USPS", "service": offer.service, "currency": "USD",
        "rate": format!("{}.{:02}", offer.cents / 100, offer.cents % 100), "delivery_days": 2,
    })
}

/// A shipment as the API shows it.
#[must_use]
pub fn shipment_json(shipment: &Shipment) -> Value {
    let sale = shipment.sale.as_ref();
    json!({
        "id": shipment.id, "object": "Shipment", "mode": "test", "reference": shipment.reference,
        "created_at": written(shipment.created), "updated_at": written(shipment.changed),
        "to_address": shipment.request["to_address"], "from_address": shipment.request["from_address"],
        "parcel": shipment.request["parcel"], "messages": [], "insurance": null, "is_return": false,
        "rates": shipment.rates.iter().map(offer_json).collect::<Vec<_>>(),
        "selected_rate": sale.map(|sale| offer_json(&sale.offer)),
        "postage_label": sale.map(|sale| json!({
            "object": "PostageLabel", "label_file_type": "image/png", "label_size": "4x6",
            "label_url": format!("https://labels.invalid/{}.png", sale.tracking_code),
        })),
        "tracking_code": sale.map(|sale| &sale.tracking_code),
        "tracker": tracker_json(shipment),
        "status": sale.map_or("unknown", |sale| &sale.status),
        "refund_status": shipment.refund.as_ref().map(super::book::Refund::status),
    })
}

/// Its tracker, once it was bought.
#[must_use]
pub fn tracker_json(shipment: &Shipment) -> Option<Value> {
    shipment.sale.as_ref().map(|sale| {
        json!({
            "id": sale.tracker_id, "object": "Tracker", "mode": "test", "carrier": "USPS",
            "tracking_code": sale.tracking_code, "shipment_id": shipment.id, "status": sale.status,
            "status_detail": "status_update", "created_at": written(sale.at),
            "updated_at": written(shipment.changed), "tracking_details": [],
            "public_url": format!("https://track.invalid/{}", sale.tracking_code),
        })
    })
}

/// Decides refunds that are due. Returns what webhooks tell: only that the money is back.
///
/// # Errors
/// When the ledger can't be written.
pub fn settle(ledger: &mut Ledger, now: u64) -> Result<Vec<News>, LedgerError> {
    let mut news = Vec::new();
    for id in ledger.book().due(now) {
        ledger.append(&Entry::RefundSettled { at: now, id: id.clone() })?;
        let shipment = ledger.book().get(&id);
        let Some((refund, sale)) =
            shipment.and_then(|shipment| shipment.refund.as_ref().zip(shipment.sale.as_ref()))
        else {
            continue;
        };
        if refund.outcome == RefundOutcome::Refunded {
            let result = json!({
                "id": refund.id, "object": "Refund", "status": refund.status(), "shipment_id": id,
                "tracking_code": sale.tracking_code, "carrier": "USPS", "confirmation_number": null,
            });
            news.push(News { description: "refund.successful", result });
        }
    }
    Ok(news)
}

/// Moves a parcel: `{"shipment_id": .., "status": ..}`.
///
/// # Errors
/// When the ledger can't be written.
pub fn track(ledger: &mut Ledger, body: &[u8], now: u64) -> Result<Reply, LedgerError> {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let (id, status) = (text(&body, "shipment_id").to_owned(), text(&body, "status").to_owned());
    if ledger.book().get(&id).is_none_or(|shipment| shipment.sale.is_none()) || status.is_empty() {
        return Ok(error(422, "PARAMETER.REQUIRED", "Needs the shipment_id of a label sold, and a status."));
    }
    ledger.append(&Entry::Moved { at: now, id: id.clone(), status })?;
    let tracker = ledger.book().get(&id).and_then(tracker_json).unwrap_or(Value::Null);
    let news = Some(News { description: "tracker.updated", result: tracker.clone() });
    Ok(Reply { status: 200, body: tracker, news })
}
