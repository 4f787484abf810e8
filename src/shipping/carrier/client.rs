//! The calls, one function each: through the breaker, once, judged.

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    error_codes::CarrierError,
    shipment::{Address, CarrierShipment, Label, NewShipment, Postage, RefundStatus, VerifiedAddress},
    tracking::TrackingStatus,
    verdict::{Effect, NotUnderstood, Verdict, judge},
    wire,
};
use crate::{
    config::Secret,
    http::{
        client::{Bytes, HttpClient, Method, Request, header},
        gate::{Gate, health},
    },
};

/// Shipments of one page of a list; the carrier gives no more.
const PAGE: usize = 100;
/// Pages read in one lookup. What is not found within them is not found: the lookup is void.
const PAGES: usize = 50;

/// The value of the label `target` of `relay_breaker_state`.
pub const BREAKER_TARGET: &str = "carrier";

/// Where the carrier is, and who we are there.
#[derive(Debug, Clone)]
pub struct CarrierSettings {
    /// Such as `https://api.easypost.com/v2`.
    pub base_url: String,
    /// The API key.
    pub api_key: Secret,
}

/// Settings that can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CarrierSettingsError {
    /// The URL would send the key in the clear.
    #[error("the carrier's URL must start with https://, or with http:// for a carrier on this machine")]
    BaseUrl,
    /// The key is empty, or has characters that no key has.
    #[error("the carrier's API key is empty or has characters other than letters, digits, _ and -")]
    ApiKey,
}

/// A client of the carrier's API.
#[derive(Debug, Clone)]
pub struct Carrier {
    http: HttpClient,
    gate: Gate,
    base_url: String,
    authorization: header::HeaderValue,
}

impl Carrier {
    /// A client that asks `gate` before every call.
    ///
    /// # Errors
    /// When the settings can't be used.
    pub fn new(
        settings: &CarrierSettings,
        http: HttpClient,
        gate: Gate,
    ) -> Result<Self, CarrierSettingsError> {
        let base_url = settings.base_url.trim_end_matches('/').to_owned();
        if !(base_url.starts_with("https://") || is_local(&base_url)) {
            return Err(CarrierSettingsError::BaseUrl);
        }
        let key = settings.api_key.expose();
        if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) || key.is_empty() {
            return Err(CarrierSettingsError::ApiKey);
        }
        // The key is the user name; there is no password.
        let credentials = format!("Basic {}", STANDARD.encode(format!("{key}:")));
        let mut authorization =
            header::HeaderValue::from_str(&credentials).map_err(|_| CarrierSettingsError::ApiKey)?;
        authorization.set_sensitive(true);
        Ok(Self { http, gate, base_url, authorization })
    }

    /// The breaker, for the metric and the status.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Creates an address there and has it checked. It is refused when nothing can be delivered there.
    pub async fn verify_address(&self, address: &Address) -> Verdict<VerifiedAddress> {
        let body = wire::verify_body(address);
        self.call(Effect::Harmless, Method::POST, "/addresses", body, wire::verified_address).await.and_then(
            |address| match address {
                Some(address) => Verdict::Succeeded(address),
                None => refused("ADDRESS.VERIFY.FAILURE", "the address can't be delivered to"),
            },
        )
    }

    /// Creates a shipment with our reference. It costs nothing. After [`Verdict::Unknown`], look it up by
    /// [`Self::find_by_reference`] and decide with [`super::lookup::creation`].
    pub async fn create_shipment(&self, shipment: &NewShipment) -> Verdict<CarrierShipment> {
        let body = wire::create_body(shipment);
        self.call(Effect::Lasting, Method::POST, "/shipments", body, wire::shipment).await
    }

    /// Buys a shipment's label: this costs money. A shipment can't be bought twice, so the id is what must be persisted
    /// before. After [`Verdict::Unknown`], look it up by [`Self::retrieve`] and decide with [`super::lookup::purchase`].
    pub async fn buy(&self, id: &str, rate: &str) -> Verdict<Label> {
        if !(wire::is_id(id) && wire::is_id(rate)) {
            return unusable_id();
        }
        let path = format!("/shipments/{id}/buy");
        let label = |body: &[u8]| match wire::shipment(body)? {
            shipment if shipment.id != id => Err(NotUnderstood("it is about another shipment".to_owned())),
            CarrierShipment { postage: Postage::Bought(label), .. } => Ok(*label),
            CarrierShipment { postage: Postage::None, .. } => {
                Err(NotUnderstood("it has no label".to_owned()))
            }
            CarrierShipment { postage: Postage::Unclear(why), .. } => Err(NotUnderstood(why.to_owned())),
        };
        self.call(Effect::Lasting, Method::POST, &path, wire::buy_body(rate), label).await
    }

    /// Looks a shipment up.
    pub async fn retrieve(&self, id: &str) -> Verdict<CarrierShipment> {
        if !wire::is_id(id) {
            return unusable_id();
        }
        let shipment = |body: &[u8]| {
            let shipment = wire::shipment(body)?;
            let ours = shipment.id == id;
            if ours { Ok(shipment) } else { Err(NotUnderstood("it is another shipment".to_owned())) }
        };
        self.call(Effect::Harmless, Method::GET, &format!("/shipments/{id}"), vec![], shipment).await
    }

    /// Finds every shipment with a reference among those created since then: choose a time well before the reference
    /// was first used, for the clocks differ. The answer is complete or there is none.
    ///
    /// The API has no search by reference, so all of that time are listed; and whether `purchased=false` means all or
    /// only unpurchased ones is read differently by its clients, so both lists are read. Unpurchased first: one that is
    /// bought in between is in the second list.
    pub async fn find_by_reference(
        &self,
        reference: &str,
        since: SystemTime,
    ) -> Verdict<Vec<CarrierShipment>> {
        let mut found: Vec<CarrierShipment> = Vec::new();
        for purchased in [false, true] {
            match self.list(reference, since, purchased).await {
                // What was bought in between replaces what it was before.
                Verdict::Succeeded(shipments) => {
                    found.retain(|old| shipments.iter().all(|new| new.id != old.id));
                    found.extend(shipments);
                }
                other => return other,
            }
        }
        Verdict::Succeeded(found)
    }

    async fn list(
        &self,
        reference: &str,
        since: SystemTime,
        purchased: bool,
    ) -> Verdict<Vec<CarrierShipment>> {
        let start = humantime::format_rfc3339_seconds(since);
        let mut found = Vec::new();
        let mut before = None::<String>;
        for _ in 0..PAGES {
            let mut path =
                format!("/shipments?page_size={PAGE}&purchased={purchased}&start_datetime={start}");
            if let Some(before) = &before {
                path.push_str(&format!("&before_id={before}"));
            }
            let page = match self.call(Effect::Harmless, Method::GET, &path, vec![], wire::page).await {
                Verdict::Succeeded(page) => page,
                other => return other.map(|_| Vec::new()),
            };
            // Newest first: past the start, nothing more can come, should the carrier not honour it on later pages.
            let last = page.shipments.last().filter(|last| last.created_at >= since);
            let next = last.filter(|_| page.has_more).map(|last| last.id.clone());
            let ours = |shipment: &CarrierShipment| shipment.reference.as_deref() == Some(reference);
            found.extend(page.shipments.into_iter().filter(ours));
            match next {
                None => return Verdict::Succeeded(found),
                Some(next) => before = Some(next),
            }
        }
        Verdict::Unknown(format!("more than {} shipments since {start}: too many to search", PAGES * PAGE))
    }

    /// Asks for a label's money back. The answer says how far it got; ask again with [`Self::retrieve`] while it is
    /// submitted, and after [`Verdict::Unknown`].
    pub async fn refund(&self, id: &str) -> Verdict<RefundStatus> {
        if !wire::is_id(id) {
            return unusable_id();
        }
        let status = |body: &[u8]| {
            let refund = wire::shipment(body)?.refund;
            refund.ok_or_else(|| NotUnderstood("it has no refund".to_owned()))
        };
        self.call(Effect::Lasting, Method::POST, &format!("/shipments/{id}/refund"), vec![], status).await
    }

    /// Asks where a parcel is.
    pub async fn tracking(&self, tracker: &str) -> Verdict<TrackingStatus> {
        if !wire::is_id(tracker) {
            return unusable_id();
        }
        self.call(Effect::Harmless, Method::GET, &format!("/trackers/{tracker}"), vec![], wire::tracker).await
    }

    async fn call<T>(
        &self,
        effect: Effect,
        method: Method,
        path: &str,
        body: Vec<u8>,
        parse: impl FnOnce(&[u8]) -> Result<T, NotUnderstood>,
    ) -> Verdict<T> {
        let pass = match self.gate.admit() {
            Ok(pass) => pass,
            Err(after) => return Verdict::held(after),
        };
        let mut headers = vec![
            (header::AUTHORIZATION, self.authorization.clone()),
            (header::ACCEPT, header::HeaderValue::from_static("application/json")),
        ];
        if !body.is_empty() {
            headers.push((header::CONTENT_TYPE, header::HeaderValue::from_static("application/json")));
        }
        let url = format!("{}{path}", self.base_url);
        let result = self.http.send(Request { method, url, headers, body: Bytes::from(body) }).await;
        pass.report(health(&result));
        judge(effect, result, parse)
    }
}

/// Whether it is a carrier on this machine, to which the key may be sent in the clear.
fn is_local(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
    });
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn refused<T>(code: &str, message: &str) -> Verdict<T> {
    Verdict::Refused(CarrierError { code: code.to_owned(), message: message.to_owned() })
}

/// Ids are checked when they come in, so this is a mistake of the caller's. Nothing is sent.
fn unusable_id<T>() -> Verdict<T> {
    refused("UNUSABLE_ID", "not an id of the carrier's")
}
