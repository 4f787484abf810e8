//! The carrier's errors. Pure.

use serde::Deserialize;
use serde_json::Value;

/// Codes of answers to a purchase that leave open whether it was or will be done: the label exists already, another
/// purchase of the same shipment is under way, or the carrier behind did not answer in time.
pub(super) const DOUBTFUL: [&str; 4] = [
    "SHIPMENT.POSTAGE.EXISTS",
    "SHIPMENT.PURCHASE.IN_PROGRESS",
    "SHIPMENT.POSTAGE.TIMED_OUT",
    "SHIPMENT.POSTAGE.NO_RESPONSE",
];

/// The longest message that is kept, in characters.
const MESSAGE: usize = 500;

/// What the carrier says went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarrierError {
    /// For machines, such as `ADDRESS.VERIFY.FAILURE`.
    pub code: String,
    /// For people, with what it says of single fields; at most 500 characters.
    pub message: String,
}

#[derive(Deserialize)]
struct Envelope {
    error: Inner,
}

#[derive(Deserialize)]
struct Inner {
    code: String,
    /// Text as a rule, but lists and objects have been seen.
    #[serde(default)]
    message: Value,
    /// Objects with `field` and `message`, or texts.
    #[serde(default)]
    errors: Value,
}

impl CarrierError {
    /// Reads an error from a body. `None` when it is none of the carrier's: a proxy in between may answer as well.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let Inner { code, message, errors } = serde_json::from_slice::<Envelope>(body).ok()?.error;
        let mut texts = Vec::new();
        collect(&message, &mut texts, 0);
        collect(&errors, &mut texts, 0);
        Some(Self {
            code: code.chars().take(100).collect(),
            message: texts.join("; ").chars().take(MESSAGE).collect(),
        })
    }

    /// Whether it leaves open if the work was or will be done.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        DOUBTFUL.contains(&self.code.as_str())
    }
}

/// Every text in it, depth first, a few levels deep; an object with a field and a message becomes one text.
fn collect(value: &Value, texts: &mut Vec<String>, depth: u32) {
    if depth > 4 || texts.len() > 20 {
        return;
    }
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect(value, texts, depth + 1)),
        Value::Object(fields) => match (fields.get("field"), fields.get("message")) {
            (Some(Value::String(field)), Some(Value::String(message))) => {
                texts.push(format!("{field}: {message}"));
            }
            _ => fields.values().for_each(|value| collect(value, texts, depth + 1)),
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_error_is_read() {
        for (body, code, message) in [
            (
                r#"{"error":{"code":"ADDRESS.VERIFY.FAILURE","message":"No such place","errors":[{"field":"street1","message":"no number","suggestion":null}]}}"#,
                "ADDRESS.VERIFY.FAILURE",
                "No such place; street1: no number",
            ),
            (
                r#"{"error":{"code":"NOT_FOUND","message":"gone","errors":["a","b"]}}"#,
                "NOT_FOUND",
                "gone; a; b",
            ),
            (r#"{"error":{"code":"X","message":["a",{"k":"b"}]}}"#, "X", "a; b"),
            (r#"{"error":{"code":"X"}}"#, "X", ""),
        ] {
            let expected = CarrierError { code: code.to_owned(), message: message.to_owned() };
            assert_eq!(CarrierError::parse(body.as_bytes()), Some(expected), "{body}");
        }
    }

    #[test]
    fn what_the_carrier_did_not_write_is_no_error_of_its() {
        for body in ["", "<html>", "{}", r#"{"error":"no"}"#, r#"{"error":{"message":"no code"}}"#, "null"] {
            assert_eq!(CarrierError::parse(body.as_bytes()), None, "{body}");
        }
    }
}
