//! Addresses and parcels as shipping keeps them, and as the carrier is told of them. Pure.

use serde::{Deserialize, Serialize};

use crate::shipping::carrier::shipment::{Address, Parcel};

/// An address in a column: the carrier's fields, by their names there. Others are let be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    name: Option<String>,
    company: Option<String>,
    street1: String,
    street2: Option<String>,
    city: String,
    state: Option<String>,
    zip: String,
    country: String,
    phone: Option<String>,
    email: Option<String>,
}

impl Default for Kept {
    fn default() -> Self {
        Self::from(&Address::default())
    }
}

impl From<&Address> for Kept {
    fn from(address: &Address) -> Self {
        let Address { name, company, street1, street2, city, state, zip, country, phone, email } =
            address.clone();
        Self { name, company, street1, street2, city, state, zip, country, phone, email }
    }
}

/// Reads an address.
///
/// # Errors
/// What about it can't be used.
pub(super) fn read(json: &str) -> Result<Address, String> {
    let kept: Kept =
        serde_json::from_str(json).map_err(|error| format!("the address can't be read: {error}"))?;
    if kept.street1.trim().is_empty() || kept.country.len() != 2 {
        return Err("the address has no street1, or no country of two letters".to_owned());
    }
    let Kept { name, company, street1, street2, city, state, zip, country, phone, email } = kept;
    Ok(Address { name, company, street1, street2, city, state, zip, country, phone, email })
}

/// Writes an address.
pub(super) fn written(address: &Address) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Kept::from(address))
}

const MM_PER_INCH: f64 = 25.4;
const GRAMS_PER_OUNCE: f64 = 28.349_523_125;

/// A parcel in the carrier's units, rounded up: less than there is would be charged for later.
pub(super) fn parcel(size: [i32; 3], grams: i32) -> Parcel {
    let up = |value: f64| (value * 10.0).ceil() / 10.0;
    let [length, width, height] = size.map(|side| up(f64::from(side) / MM_PER_INCH));
    Parcel { length, width, height, weight: up(f64::from(grams) / GRAMS_PER_OUNCE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_written_and_what_is_more_is_let_be() {
        let text = r#"{"street1": "2 Second St", "city": "Springfield", "zip": "97477", "country": "US", "note": 1}"#;
        let address = read(text).unwrap_or_default();
        assert_eq!((address.street1.as_str(), address.country.as_str()), ("2 Second St", "US"));
        assert_eq!(written(&address).ok().and_then(|text| read(&text).ok()), Some(address));
        for wrong in
            ["", "[]", "{}", r#"{"street1": " ", "country": "US"}"#, r#"{"street1": 5, "country": "US"}"#]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_parcel_is_never_told_smaller_or_lighter_than_it_is() {
        let parcel = parcel([254, 255, 1], 500);
        assert!((parcel.length - 10.0).abs() < 1e-9 && (parcel.width - 10.1).abs() < 1e-9);
        assert!((parcel.height - 0.1).abs() < 1e-9 && (parcel.weight - 17.7).abs() < 1e-9);
    }
}
