//! The carrier's JSON. Fields that are not needed are ignored; what is needed and missing is an error of its own, for
//! an answer that nobody understands is no success. Pure.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{
    shipment::{
        Address, CarrierShipment, Label, NewShipment, Parcel, Postage, Price, Rate, RefundStatus,
        VerifiedAddress,
    },
    tracking::TrackingStatus,
    verdict::NotUnderstood,
};

/// The longest id that is taken for one.
const ID: usize = 64;

/// Whether it can be an id of the carrier's: it becomes part of a path.
#[must_use]
pub fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ID
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Reads a point in time, such as `2024-08-02T23:15:40Z` or `2024-08-02T23:15:40+00:00`.
#[must_use]
pub(super) fn time(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix("+00:00").map_or_else(|| text.to_owned(), |text| format!("{text}Z"));
    humantime::parse_rfc3339(&text).ok()
}

fn missing(what: &str) -> NotUnderstood {
    NotUnderstood(format!("{what} is missing or not usable"))
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, NotUnderstood> {
    // The error says where, and quotes nothing but the type found.
    serde_json::from_slice(body).map_err(|error| NotUnderstood(error.to_string()))
}

fn id(id: Option<String>, what: &str) -> Result<String, NotUnderstood> {
    id.filter(|id| is_id(id)).ok_or_else(|| missing(what))
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct WireAddress {
    #[serde(skip_serializing)]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    company: Option<String>,
    street1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    street2: Option<String>,
    city: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    zip: Option<String>,
    country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing)]
    verifications: Option<Verifications>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Verifications {
    delivery: Option<Verification>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Verification {
    success: bool,
}

impl From<&Address> for WireAddress {
    fn from(address: &Address) -> Self {
        let address = address.clone();
        Self {
            name: address.name,
            company: address.company,
            street1: Some(address.street1),
            street2: address.street2,
            city: Some(address.city),
            state: address.state,
            zip: Some(address.zip),
            country: Some(address.country),
            phone: address.phone,
            email: address.email,
            ..Self::default()
        }
    }
}

#[derive(Serialize)]
struct VerifyBody {
    address: WireAddress,
    verify_strict: bool,
}

#[derive(Serialize)]
struct CreateBody<'a> {
    shipment: CreateShipment<'a>,
}

#[derive(Serialize)]
struct CreateShipment<'a> {
    reference: &'a str,
    to_address: WireAddress,
    from_address: WireAddress,
    parcel: WireParcel,
}

#[derive(Serialize)]
struct WireParcel {
    length: f64,
    width: f64,
    height: f64,
    weight: f64,
}

#[derive(Serialize)]
struct BuyBody<'a> {
    rate: RateId<'a>,
}

#[derive(Serialize)]
struct RateId<'a> {
    id: &'a str,
}

/// These types have no map keys and no failing serializer, so there is nothing that could go wrong.
fn written(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

/// The body that creates and verifies an address.
#[must_use]
pub(super) fn verify_body(address: &Address) -> Vec<u8> {
    written(&VerifyBody { address: address.into(), verify_strict: true })
}

/// The body that creates a shipment.
#[must_use]
pub(super) fn create_body(shipment: &NewShipment) -> Vec<u8> {
    let Parcel { length, width, height, weight } = shipment.parcel;
    written(&CreateBody {
        shipment: CreateShipment {
            reference: &shipment.reference,
            to_address: (&shipment.to).into(),
            from_address: (&shipment.from).into(),
            parcel: WireParcel { length, width, height, weight },
        },
    })
}

/// The body that buys a rate.
#[must_use]
pub(super) fn buy_body(rate: &str) -> Vec<u8> {
    written(&BuyBody { rate: RateId { id: rate } })
}

/// Reads an address that was to be verified; `None` when it can't be delivered to.
pub(super) fn verified_address(body: &[u8]) -> Result<Option<VerifiedAddress>, NotUnderstood> {
    let wire: WireAddress = json(body)?;
    let delivery =
        wire.verifications.and_then(|all| all.delivery).ok_or_else(|| missing("verifications.delivery"))?;
    if !delivery.success {
        return Ok(None);
    }
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let needed = |value: Option<String>, what: &str| text(value).ok_or_else(|| missing(what));
    Ok(Some(VerifiedAddress {
        id: id(wire.id, "id")?,
        address: Address {
            name: text(wire.name),
            company: text(wire.company),
            street1: needed(wire.street1, "street1")?,
            street2: text(wire.street2),
            city: needed(wire.city, "city")?,
            state: text(wire.state),
            // Some countries have none.
            zip: wire.zip.unwrap_or_default(),
            country: needed(wire.country, "country")?,
            phone: text(wire.phone),
            email: text(wire.email),
        },
    }))
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireRate {
    id: Option<String>,
    carrier: Option<String>,
    service: Option<String>,
    rate: Option<String>,
    currency: Option<String>,
}

impl WireRate {
    fn read(self) -> Result<Rate, NotUnderstood> {
        let (amount, currency) = (self.rate.unwrap_or_default(), self.currency.unwrap_or_default());
        Ok(Rate {
            id: id(self.id, "a rate's id")?,
            carrier: self.carrier.unwrap_or_default(),
            service: self.service.unwrap_or_default(),
            price: Price::parse(&amount, &currency).ok_or_else(|| missing("a rate's price"))?,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireShipment {
    id: Option<String>,
    reference: Option<String>,
    created_at: Option<String>,
    rates: Option<Vec<WireRate>>,
    selected_rate: Option<WireRate>,
    postage_label: Option<WireLabel>,
    tracking_code: Option<String>,
    tracker: Option<WireTracker>,
    refund_status: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireLabel {
    label_url: Option<String>,
}

/// A tracker, as a part of a shipment, alone, or in an event.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct WireTracker {
    pub(super) id: Option<String>,
    pub(super) status: Option<String>,
    pub(super) tracking_code: Option<String>,
    pub(super) shipment_id: Option<String>,
    pub(super) public_url: Option<String>,
    pub(super) updated_at: Option<String>,
}

impl WireShipment {
    fn read(self) -> Result<CarrierShipment, NotUnderstood> {
        let id = id(self.id, "the shipment's id")?;
        let created_at = self.created_at.as_deref().and_then(time).ok_or_else(|| missing("created_at"))?;
        let tracker = self.tracker.unwrap_or_default();
        let tracking = tracker.status.as_deref().map_or(TrackingStatus::Unknown, TrackingStatus::parse);
        let url = self.postage_label.map(|label| label.label_url);
        let postage = match (url, self.tracking_code, self.selected_rate.map(WireRate::read)) {
            (None, None, _) => Postage::None,
            (Some(Some(url)), Some(tracking_code), Some(Ok(rate))) => Postage::Bought(Box::new(Label {
                shipment_id: id.clone(),
                url,
                tracking_code,
                tracker_id: tracker.id,
                tracking_url: tracker.public_url,
                rate,
            })),
            (None | Some(None), ..) => Postage::Unclear("it has no label to fetch"),
            (_, None, _) => Postage::Unclear("it has a label but no tracking code"),
            (_, _, None | Some(Err(_))) => Postage::Unclear("it has a label but no rate that was bought"),
        };
        // A rate that is not understood can't be bought, and takes nothing from the others.
        let rates = self.rates.unwrap_or_default().into_iter().filter_map(|rate| rate.read().ok()).collect();
        let refund = self.refund_status.as_deref().map(RefundStatus::parse);
        Ok(CarrierShipment { id, reference: self.reference, created_at, rates, postage, refund, tracking })
    }
}

/// Reads a shipment.
pub(super) fn shipment(body: &[u8]) -> Result<CarrierShipment, NotUnderstood> {
    json::<WireShipment>(body)?.read()
}

/// A page of a list, newest first.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) shipments: Vec<CarrierShipment>,
    pub(super) has_more: bool,
}

#[derive(Deserialize)]
struct WirePage {
    shipments: Vec<WireShipment>,
    has_more: bool,
}

/// Reads a page. All of it must be understood: a shipment that was left out would look as if it did not exist.
pub(super) fn page(body: &[u8]) -> Result<Page, NotUnderstood> {
    let WirePage { shipments, has_more } = json(body)?;
    if has_more && shipments.is_empty() {
        return Err(NotUnderstood("an empty page is said to have more behind it".to_owned()));
    }
    let shipments = shipments.into_iter().map(WireShipment::read).collect::<Result<_, _>>()?;
    Ok(Page { shipments, has_more })
}

/// Reads a tracker's status.
pub(super) fn tracker(body: &[u8]) -> Result<TrackingStatus, NotUnderstood> {
    let status = json::<WireTracker>(body)?.status.ok_or_else(|| missing("the tracker's status"))?;
    Ok(TrackingStatus::parse(&status))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn bought() -> Value {
        json!({
            "id": "shp_1", "object": "Shipment", "reference": "our-1", "created_at": "2026-03-01T10:00:00Z",
            "rates": [
                {"id": "rate_1", "carrier": "USPS", "service": "Priority", "rate": "6.90", "currency": "USD"},
                {"id": "rate_2", "carrier": "USPS", "service": "Ground", "rate": "5.93", "currency": "USD"},
                {"id": "rate_3", "carrier": "USPS", "service": "Odd", "rate": "cheap", "currency": "USD"}
            ],
            "selected_rate":
                {"id": "rate_2", "carrier": "USPS", "service": "Ground", "rate": "5.93", "currency": "USD"},
            "postage_label": {"id": "pl_1", "label_url": "https://labels/1.png", "label_size": "4x6"},
            "tracking_code": "9400", "refund_status": null, "insurance": null, "usps_zone": 4,
            "tracker": {"id": "trk_1", "status": "pre_transit", "public_url": "https://track/1"}
        })
    }

    fn read(value: &Value) -> Result<CarrierShipment, NotUnderstood> {
        shipment(value.to_string().as_bytes())
    }

    #[test]
    fn a_bought_shipment_is_read_with_its_label_and_the_rates_that_make_sense() {
        let shipment = read(&bought()).expect("it is whole");
        let Postage::Bought(label) = &shipment.postage else { panic!("{:?}", shipment.postage) };
        assert_eq!((label.tracking_code.as_str(), label.rate.price.minor), ("9400", 593));
        assert_eq!(shipment.rates.len(), 2);
        assert_eq!(shipment.cheapest("USD", None).map(|rate| rate.id.as_str()), Some("rate_2"));
        assert_eq!(shipment.cheapest("USD", Some("Priority")).map(|rate| rate.id.as_str()), Some("rate_1"));
        assert_eq!(shipment.cheapest("EUR", None), None);
        assert_eq!(shipment.tracking, TrackingStatus::PreTransit);
    }

    #[test]
    fn half_a_label_is_neither_bought_nor_not_bought() {
        for field in ["postage_label", "tracking_code", "selected_rate"] {
            let mut value = bought();
            value[field] = Value::Null;
            let postage = read(&value).expect("it is a shipment").postage;
            assert!(matches!(postage, Postage::Unclear(_)), "without {field}: {postage:?}");
        }
        let mut value = bought();
        value["postage_label"] = Value::Null;
        value["tracking_code"] = Value::Null;
        assert_eq!(read(&value).expect("it is a shipment").postage, Postage::None);
    }

    #[test]
    fn what_is_needed_and_missing_is_not_understood() {
        for (field, value) in
            [("id", json!(null)), ("id", json!("../x")), ("id", json!(7)), ("created_at", json!("monday"))]
        {
            let mut shipment = bought();
            shipment[field] = value;
            assert!(read(&shipment).is_err(), "{shipment}");
        }
        for body in ["", "[]", "null", "{", "{}", r#"{"error":{"code":"X"}}"#] {
            assert!(shipment(body.as_bytes()).is_err(), "{body}");
            assert!(page(body.as_bytes()).is_err(), "{body}");
            assert!(tracker(body.as_bytes()).is_err(), "{body}");
            assert!(verified_address(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_list_with_one_shipment_that_is_not_understood_is_not_a_list() {
        let page_of = |shipments| json!({"shipments": shipments, "has_more": false}).to_string();
        assert_eq!(
            page(page_of(json!([bought()])).as_bytes()).map(|page| page.shipments.len()).ok(),
            Some(1)
        );
        assert!(page(page_of(json!([bought(), {}])).as_bytes()).is_err());
        assert!(page(br#"{"shipments": [], "has_more": true}"#).is_err());
        assert!(page(br#"{"shipments": [], "has_more": false}"#).is_ok());
    }

    #[test]
    fn an_address_is_verified_only_if_the_carrier_says_so() {
        let address = |success: Value| {
            let body = json!({
                "id": "adr_1", "street1": "1 MAIN ST", "street2": "", "city": "X", "state": "CA", "zip": "1",
                "country": "US", "verifications": {"delivery": {"success": success, "errors": []}}
            });
            verified_address(body.to_string().as_bytes())
        };
        assert!(matches!(address(json!(true)), Ok(Some(found)) if found.address.street2.is_none()));
        assert_eq!(address(json!(false)), Ok(None));
        assert!(address(json!("yes")).is_err());
    }

    #[test]
    fn times_of_both_spellings_are_the_same() {
        assert_eq!(time("2024-08-02T23:15:40+00:00"), time("2024-08-02T23:15:40Z"));
        assert!(time("2024-08-02T23:15:40Z").is_some());
        assert!(time("2024-08-02").is_none());
    }

    #[test]
    fn the_bodies_that_are_sent_have_the_carriers_shape() {
        let address = Address { street1: "1 Main".into(), zip: "9".into(), ..Address::default() };
        let parcel = Parcel { length: 10.0, width: 8.0, height: 4.0, weight: 15.4 };
        let new =
            NewShipment { reference: "our-1".into(), from: address.clone(), to: address.clone(), parcel };
        let parse = |body: Vec<u8>| serde_json::from_slice::<Value>(&body).expect("it is JSON");
        let verify = parse(verify_body(&address));
        assert_eq!(
            (&verify["verify_strict"], &verify["address"]["street1"]),
            (&json!(true), &json!("1 Main"))
        );
        let create = parse(create_body(&new));
        assert_eq!(create["shipment"]["reference"], "our-1");
        assert_eq!(create["shipment"]["parcel"]["weight"].to_string(), "15.4");
        assert_eq!(create["shipment"]["to_address"]["zip"], "9");
        assert_eq!(parse(buy_body("rate_1")), json!({"rate": {"id": "rate_1"}}));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(cut in 0_usize..700, byte: u8) {
            let mut body = bought().to_string().into_bytes();
            let at = cut % body.len();
            body[at] = byte;
            let _ = shipment(&body);
            body.truncate(at);
            prop_assert!(shipment(&body).is_err());
        }
    }
}
