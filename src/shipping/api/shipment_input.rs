//! Bodies about shipments. Pure.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{check::Check, problem::FieldError, whole::number};
use crate::shipping::store::{NewCase, NewLine};

/// Cases a shipment may have.
const CASES: usize = 100;
/// Lines of an order.
pub(super) const LINES: usize = 1000;
/// Items of a batch.
pub(super) const BATCH: usize = 100;
/// So many of a line of a case; added up over all cases it fits the database's integer.
const QUANTITY: i64 = 1_000_000;

/// A postal address, as the carrier is given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Address {
    /// Person; a name or a company is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) company: Option<String>,
    /// Street and number.
    pub street1: String,
    /// Flat, floor and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub street2: Option<String>,
    /// City.
    pub(super) city: String,
    /// State or province, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<String>,
    /// Postal code.
    pub(super) zip: String,
    /// ISO 3166, two capital letters.
    pub(super) country: String,
    /// Phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) phone: Option<String>,
    /// Mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<String>,
}

impl Address {
    /// Adds what is wrong with it.
    pub(super) fn check(&self, check: &mut Check, at: &str) {
        check.that(self.name.is_some() || self.company.is_some(), at, "it needs a name or a company");
        for (field, text) in [("street1", &self.street1), ("city", &self.city), ("zip", &self.zip)] {
            check.text(text, format!("{at}/{field}"), 200);
        }
        for (field, text) in [
            ("name", &self.name),
            ("company", &self.company),
            ("street2", &self.street2),
            ("state", &self.state),
            ("phone", &self.phone),
            ("email", &self.email),
        ] {
            check.maybe(text.as_ref(), format!("{at}/{field}"), 200);
        }
        let country =
            self.country.len() == 2 && self.country.bytes().all(|letter| letter.is_ascii_uppercase());
        check.that(country, format!("{at}/country"), "it must be two capital letters, as in ISO 3166");
    }
}

/// `POST /shipments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShipmentInput {
    /// Which order it ships from.
    pub(super) order_id: String,
    /// Where to; where the order goes unless it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ship_to: Option<Address>,
    /// From where.
    pub(super) ship_from: Address,
    /// Its cases.
    pub(super) cases: Vec<CaseInput>,
}

/// A case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseInput {
    /// Its weight.
    #[serde(deserialize_with = "number")]
    pub(super) weight_grams: i32,
    /// Its length.
    #[serde(deserialize_with = "number")]
    pub(super) length_mm: i32,
    /// Its width.
    #[serde(deserialize_with = "number")]
    pub(super) width_mm: i32,
    /// Its height.
    #[serde(deserialize_with = "number")]
    pub(super) height_mm: i32,
    /// What is in it.
    pub(super) lines: Vec<CaseLineInput>,
}

/// So many of a line of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseLineInput {
    /// Which line.
    #[serde(deserialize_with = "number")]
    pub(super) line: i16,
    /// How many.
    #[serde(deserialize_with = "number")]
    pub(super) quantity: i32,
}

impl ShipmentInput {
    /// Whether it can be accepted, as far as it says by itself.
    ///
    /// # Errors
    /// Every mistake in it.
    pub(super) fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut check = Check::default();
        check.order_id(&self.order_id, "/order_id");
        if let Some(address) = &self.ship_to {
            address.check(&mut check, "/ship_to");
        }
        self.ship_from.check(&mut check, "/ship_from");
        check.that((1..=CASES).contains(&self.cases.len()), "/cases", "there must be 1 to 100 cases");
        for (number, case) in self.cases.iter().take(CASES).enumerate() {
            case.check(&mut check, &format!("/cases/{number}"));
        }
        check.done()
    }

    /// The cases as they are stored, each with a new reference.
    pub(super) fn new_cases(&self, mut reference: impl FnMut() -> Uuid) -> Vec<NewCase> {
        let line = |line: &CaseLineInput| NewLine { line: line.line, quantity: line.quantity };
        let mut case = |case: &CaseInput| NewCase {
            reference: reference(),
            weight: case.weight_grams,
            size: [case.length_mm, case.width_mm, case.height_mm],
            lines: case.lines.iter().map(line).collect(),
        };
        self.cases.iter().map(&mut case).collect()
    }
}

impl CaseInput {
    fn check(&self, check: &mut Check, at: &str) {
        check.within(self.weight_grams.into(), format!("{at}/weight_grams"), (1, 2_000_000));
        for (field, size) in
            [("length_mm", self.length_mm), ("width_mm", self.width_mm), ("height_mm", self.height_mm)]
        {
            check.within(size.into(), format!("{at}/{field}"), (1, 20_000));
        }
        let lines = format!("{at}/lines");
        check.that((1..=LINES).contains(&self.lines.len()), &*lines, "there must be 1 to 1000 lines");
        let mut seen = std::collections::BTreeSet::new();
        for (index, line) in self.lines.iter().take(LINES).enumerate() {
            check.within(line.line.into(), format!("{lines}/{index}/line"), (1, 1000));
            check.within(line.quantity.into(), format!("{lines}/{index}/quantity"), (1, QUANTITY));
            let once = "this line is in the case already; add the quantities up";
            check.that(seen.insert(line.line), format!("{lines}/{index}/line"), once);
        }
    }
}

/// `POST /shipments/batch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchInput {
    /// What to accept, each by itself.
    pub(super) shipments: Vec<BatchItem>,
}

/// An item of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchItem {
    /// As the header `Idempotency-Key` of a request of its own, without quotation marks.
    pub(super) idempotency_key: String,
    /// As the body of that request.
    pub(super) shipment: ShipmentInput,
}

/// `POST /shipments/{id}/cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelInput {
    /// Why, for people.
    pub(super) reason: String,
}

impl CancelInput {
    /// Whether it says why.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut check = Check::default();
        check.text(&self.reason, "/reason", 1000);
        check.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> ShipmentInput {
        serde_json::from_value(serde_json::json!({
            "order_id": "17",
            "ship_from": {"company": "Shop", "street1": "Main St 1", "city": "Springfield", "zip": "12345", "country": "US"},
            "cases": [{"weight_grams": 500, "length_mm": 300, "width_mm": 200, "height_mm": 100,
                       "lines": [{"line": 1, "quantity": 2}]}],
        }))
        .expect("it is one")
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        assert_eq!(input().check(), Ok(()));
        let mut wrong = input();
        wrong.order_id = "a/b".into();
        wrong.ship_from.company = None;
        wrong.ship_from.city = "\0".into();
        wrong.cases[0].weight_grams = 0;
        wrong.cases[0].lines.push(CaseLineInput { line: 1, quantity: 0 });
        let errors = wrong.check().expect_err("wrong");
        let places: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(
            places,
            [
                "/order_id",
                "/ship_from",
                "/ship_from/city",
                "/cases/0/weight_grams",
                "/cases/0/lines/1/quantity",
                "/cases/0/lines/1/line"
            ]
        );
    }

    #[test]
    fn what_all_cases_take_of_a_line_fits_the_databases_integer() {
        assert!(i64::try_from(CASES).unwrap_or(i64::MAX) * QUANTITY <= i64::from(i32::MAX));
    }

    #[test]
    fn fields_left_out_and_fields_set_to_null_are_the_same_request() {
        let text = serde_json::to_string(&input()).unwrap_or_default();
        assert!(!text.contains("null") && !text.contains("ship_to"), "{text}");
    }
}
