//! Bodies about orders, and which changes of an order there may be. Pure.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    check::Check,
    problem::FieldError,
    shipment_input::{Address, LINES},
    whole::number,
};
use crate::shipping::{
    money::{Currency, MoneyError},
    store::{LockedOrder, NewOrder, NewOrderLine, NewParty, PartyAddress},
};

/// Who may be told.
const PARTIES: usize = 50;
/// The worth of a line, in minor units: a thousand of them add up within 64 bits.
const WORTH: i128 = 1_000_000_000_000_000;

/// `PUT /orders/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderInput {
    /// Of all its prices: ISO 4217.
    pub(super) currency: String,
    /// Where to.
    pub(super) ship_to: Address,
    /// Its lines; the first one is number 1.
    pub(super) lines: Vec<LineInput>,
    /// Who is told; the first one is number 1.
    #[serde(default)]
    pub(super) parties: Vec<PartyInput>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LineInput {
    /// What.
    pub(super) sku: String,
    /// How many.
    #[serde(deserialize_with = "number")]
    pub(super) ordered: i32,
    /// The price of one, in minor units.
    #[serde(deserialize_with = "number")]
    pub(super) unit_price_minor: i64,
}

/// Who is told. Either by mail or by a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartyInput {
    /// `customer`, `sales_representative` or `other`.
    pub(super) role: String,
    /// A mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mail: Option<String>,
    /// A webhook endpoint of the caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) endpoint_id: Option<Uuid>,
}

impl OrderInput {
    /// As it is stored.
    ///
    /// # Errors
    /// Every mistake in it.
    pub(super) fn order(&self, order_id: &str) -> Result<NewOrder, Vec<FieldError>> {
        let mut check = Check::default();
        let currency: Result<Currency, MoneyError> = Currency::new(&self.currency);
        check.that(currency.is_ok(), "/currency", "it must be three capital letters, as in ISO 4217");
        self.ship_to.check(&mut check, "/ship_to");
        check.that((1..=LINES).contains(&self.lines.len()), "/lines", "there must be 1 to 1000 lines");
        for (index, line) in self.lines.iter().take(LINES).enumerate() {
            let at = format!("/lines/{index}");
            check.text(&line.sku, format!("{at}/sku"), 200);
            check.within(line.ordered.into(), format!("{at}/ordered"), (1, 1_000_000_000));
            check.that(
                line.unit_price_minor >= 0,
                format!("{at}/unit_price_minor"),
                "it must not be negative",
            );
            let worth = i128::from(line.ordered) * i128::from(line.unit_price_minor);
            check.that(
                worth <= WORTH,
                format!("{at}/unit_price_minor"),
                "the line is worth too much to be billed",
            );
        }
        check.that(self.parties.len() <= PARTIES, "/parties", "there may be 50 parties at most");
        let mut parties = Vec::new();
        for (index, party) in self.parties.iter().take(PARTIES).enumerate() {
            parties.extend(party.checked(&mut check, &format!("/parties/{index}")));
        }
        let customers = self.parties.iter().filter(|party| party.role == "customer").count();
        check.that(customers <= 1, "/parties", "only one of them may be the customer");
        let ship_to = serde_json::to_string(&self.ship_to).unwrap_or_default();
        check.done()?;
        let wrong = |error: MoneyError| vec![FieldError::new("/currency", error.to_string())];
        let line = |line: &LineInput| NewOrderLine {
            sku: line.sku.clone(),
            ordered: line.ordered,
            price: line.unit_price_minor,
        };
        Ok(NewOrder {
            order_id: order_id.to_owned(),
            currency: currency.map_err(wrong)?,
            ship_to,
            lines: self.lines.iter().map(line).collect(),
            parties,
        })
    }
}

impl PartyInput {
    fn checked(&self, check: &mut Check, at: &str) -> Option<NewParty> {
        let role = ["customer", "sales_representative", "other"].contains(&self.role.as_str());
        check.that(role, format!("{at}/role"), "it must be customer, sales_representative or other");
        let address = match (&self.mail, self.endpoint_id) {
            (Some(mail), None) => {
                let right = is_mail(mail);
                check.that(right, format!("{at}/mail"), "it must be one mail address of 320 bytes at most");
                PartyAddress::Mail(mail.clone())
            }
            (None, Some(endpoint)) => PartyAddress::Webhook(endpoint),
            _ => {
                check.that(false, at, "it needs either mail or endpoint_id");
                return None;
            }
        };
        Some(NewParty { role: self.role.clone(), address })
    }
}

/// Whether it looks like one; only sending shows whether it is.
fn is_mail(text: &str) -> bool {
    let clean = |part: &str| {
        !part.is_empty()
            && part.chars().all(|letter| {
                !letter.is_whitespace() && !letter.is_control() && !"<>(),;:\\\"[]".contains(letter)
            })
    };
    text.len() <= 320
        && text.split_once('@').is_some_and(|(name, host)| clean(name) && clean(host) && !host.contains('@'))
}

/// Whether a change leaves everything as it is.
#[must_use]
pub(super) fn is_same(now: &LockedOrder, wanted: &NewOrder) -> bool {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    now.currency == wanted.currency.to_string()
        && json(&now.ship_to) == json(&wanted.ship_to)
        && now.parties == wanted.parties
        && now.lines.len() == wanted.lines.len()
        && now
            .lines
            .iter()
            .zip(&wanted.lines)
            .all(|(now, new)| now.sku == new.sku && now.ordered == new.ordered && now.price == new.price)
}

/// What a change would break. Shipments name lines and parties by number, so neither goes away, and a party keeps its
/// role and its channel; what is taken stays ordered, and stays what it was.
#[must_use]
pub(super) fn conflicts(now: &LockedOrder, wanted: &NewOrder) -> Vec<FieldError> {
    let mut check = Check::default();
    check.that(
        now.currency == wanted.currency.to_string(),
        "/currency",
        format!("it is {} for good", now.currency),
    );
    let lines = format!("the order has {} lines, and a line can't be taken away", now.lines.len());
    check.that(wanted.lines.len() >= now.lines.len(), "/lines", lines);
    for (index, (now, new)) in now.lines.iter().zip(&wanted.lines).enumerate() {
        let at = format!("/lines/{index}");
        let taken = format!("{} are shipped or taken on by shipments", now.taken);
        check.that(i64::from(new.ordered) >= now.taken, format!("{at}/ordered"), &*taken);
        check.that(now.taken == 0 || now.sku == new.sku, format!("{at}/sku"), &*taken);
        check.that(now.taken == 0 || now.price == new.price, format!("{at}/unit_price_minor"), &*taken);
    }
    let parties = format!("the order has {} parties, and a party can't be taken away", now.parties.len());
    check.that(wanted.parties.len() >= now.parties.len(), "/parties", parties);
    for (index, (now, new)) in now.parties.iter().zip(&wanted.parties).enumerate() {
        let same = now.role == new.role && now.address.mail().is_some() == new.address.mail().is_some();
        check.that(
            same,
            format!("/parties/{index}"),
            "a party's role and channel can't be changed; add another party",
        );
    }
    check.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipping::store::LockedLine;

    fn input() -> OrderInput {
        serde_json::from_value(serde_json::json!({
            "currency": "EUR",
            "ship_to": {"name": "Ada", "street1": "Main St 1", "city": "Springfield", "zip": "12345", "country": "US"},
            "lines": [{"sku": "apple", "ordered": 10, "unit_price_minor": 150}],
            "parties": [{"role": "customer", "mail": "ada@example.com"}],
        }))
        .expect("it is one")
    }

    fn locked(taken: i64) -> LockedOrder {
        let order = input().order("17").expect("it is right");
        LockedOrder {
            version: 1,
            currency: "EUR".into(),
            ship_to: order.ship_to.clone(),
            lines: vec![LockedLine { sku: "apple".into(), ordered: 10, taken, price: 150 }],
            parties: order.parties,
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let mut wrong = input();
        wrong.currency = "eur".into();
        wrong.lines[0].ordered = 0;
        wrong.lines[0].unit_price_minor = i64::MAX;
        wrong.parties.push(PartyInput { role: "boss".into(), mail: None, endpoint_id: None });
        wrong.parties.push(PartyInput {
            role: "customer".into(),
            mail: Some("a@b@c".into()),
            endpoint_id: None,
        });
        let places: Vec<String> =
            wrong.order("17").expect_err("wrong").into_iter().map(|error| error.pointer).collect();
        assert_eq!(
            places,
            ["/currency", "/lines/0/ordered", "/parties/1/role", "/parties/1", "/parties/2/mail", "/parties"]
        );
    }

    #[test]
    fn what_shipments_have_taken_stays_ordered_and_the_same() {
        let mut wanted = input().order("17").expect("it is right");
        assert!(is_same(&locked(4), &wanted) && conflicts(&locked(4), &wanted).is_empty());
        wanted.lines[0].ordered = 4;
        assert!(conflicts(&locked(4), &wanted).is_empty() && !is_same(&locked(4), &wanted));
        wanted.lines[0] = NewOrderLine { sku: "pear".into(), ordered: 3, price: 1 };
        wanted.parties[0].address = PartyAddress::Webhook(Uuid::nil());
        assert_eq!(conflicts(&locked(4), &wanted).len(), 4);
        assert_eq!(conflicts(&locked(0), &wanted).len(), 1, "nobody ships it yet");
        wanted.lines.clear();
        wanted.parties.clear();
        assert_eq!(conflicts(&locked(0), &wanted).len(), 2);
    }

    #[test]
    fn mail_addresses_have_no_room_for_headers() {
        for (text, right) in [
            ("a@b", true),
            ("a@b\r\nBcc: c@d", false),
            ("a b@c", false),
            ("@b", false),
            ("a", false),
            ("<a@b>", false),
        ] {
            assert_eq!(is_mail(text), right, "{text:?}");
        }
    }
}
