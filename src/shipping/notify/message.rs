//! What parties are told, as bytes: a mail, or the body of a webhook. Pure.
//!
//! It is rendered once, and stored before the first attempt; every attempt sends the same bytes. Parties are strangers:
//! they read what was shipped and how to track it, not what operators or carriers wrote down about it.

use std::{fmt::Write, time::SystemTime};

use lettre::{
    Address,
    message::{
        Mailbox, Message,
        header::{ContentType, HeaderName, HeaderValue},
    },
};
use serde::Serialize;
use uuid::Uuid;

use crate::named::named;

named! {
    /// What a notification says.
    Kind, "kind of notification" {
        /// It is shipped.
        Shipped = "shipped",
        /// It was said to be shipped, and is cancelled.
        Corrected = "corrected",
    }
}

impl Kind {
    /// `type` of the webhook.
    #[must_use]
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Shipped => "shipment.shipped",
            Self::Corrected => "shipment.corrected",
        }
    }
}

/// What it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// The shipment.
    pub shipment_id: Uuid,
    /// The order it ships from.
    pub order_id: String,
    /// Its cases that have a label, by number.
    pub parcels: Vec<Parcel>,
}

/// A case with a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parcel {
    /// Its number in the shipment.
    pub case: i16,
    /// Who carries it.
    pub carrier: String,
    /// By which code it is tracked.
    pub tracking_code: String,
}

/// The most bytes that a list of cases may take. What does not fit is counted: a column and a mail have an end.
const LIST_BYTES: usize = 16 * 1024;

/// As many parcels from the front as fit, given what each takes.
fn fitting(parcels: &[Parcel], bytes: impl Fn(&Parcel) -> usize) -> &[Parcel] {
    let mut room = LIST_BYTES;
    let count = parcels.iter().take_while(|parcel| match room.checked_sub(bytes(parcel)) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    parcels.get(..count.count()).unwrap_or(parcels)
}

/// The body of a webhook.
#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    shipment_id: Uuid,
    order_id: &'a str,
    case_count: usize,
    cases: &'a [Parcel],
}

/// The body of a webhook: what happened, when, and to what.
///
/// # Errors
/// Never, but that JSON's writer may say so.
pub fn webhook(kind: Kind, story: &Story, at: SystemTime) -> Result<Vec<u8>, serde_json::Error> {
    let size = |parcel: &Parcel| serde_json::to_string(parcel).map_or(usize::MAX, |text| text.len() + 1);
    serde_json::to_vec(&Envelope {
        kind: kind.event_type(),
        timestamp: humantime::format_rfc3339_millis(at).to_string(),
        data: Data {
            shipment_id: story.shipment_id,
            order_id: &story.order_id,
            case_count: story.parcels.len(),
            cases: fitting(&story.parcels, size),
        },
    })
}

/// Why a mail can't be written. Both are for good.
#[derive(Debug, thiserror::Error)]
pub enum Unsendable {
    /// The party's address is none.
    #[error("the party's mail address can't be used")]
    Address(#[source] lettre::address::AddressError),
    /// The mail is not complete.
    #[error("the mail can't be written")]
    Incomplete(#[source] lettre::error::Error),
}

/// The address of a party, checked: it goes into a header and into a command.
///
/// # Errors
/// When it is none.
pub fn address(text: &str) -> Result<Address, Unsendable> {
    text.parse().map_err(Unsendable::Address)
}

/// A whole mail, headers and all. Its Message-ID is the notification's id, so that whoever gets it twice can tell.
///
/// # Errors
/// When the address is none.
pub fn mail(
    kind: Kind,
    story: &Story,
    id: Uuid,
    from: &Mailbox,
    to: &str,
    at: SystemTime,
) -> Result<Vec<u8>, Unsendable> {
    let order = clean(&story.order_id);
    let subject = match kind {
        Kind::Shipped => format!("Order {order} is on its way"),
        Kind::Corrected => format!("Order {order}: a shipment was cancelled"),
    };
    let message_id = format!("<{id}@{}>", from.email.domain());
    let auto =
        HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    let message = Message::builder()
        .message_id(Some(message_id))
        .date(at)
        .from(from.clone())
        .to(Mailbox::new(None, address(to)?))
        .subject(subject)
        // Nobody's holiday notice is to answer it.
        .raw_header(auto)
        .header(ContentType::TEXT_PLAIN)
        .body(text(kind, story, &order))
        .map_err(Unsendable::Incomplete)?;
    Ok(message.formatted())
}

fn text(kind: Kind, story: &Story, order: &str) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match kind {
        Kind::Shipped => write!(text, "Hello,\n\na shipment of order {order} is on its way.\n\n"),
        Kind::Corrected => write!(
            text,
            "Hello,\n\nwe told you that a shipment of order {order} is on its way.\nIt was cancelled; please disregard that mail.\nThese parcels will not reach you:\n\n"
        ),
    };
    let line = |parcel: &Parcel| {
        format!("  Parcel {}: {}, {}\n", parcel.case, clean(&parcel.carrier), clean(&parcel.tracking_code))
    };
    let listed = fitting(&story.parcels, |parcel| line(parcel).len());
    text.extend(listed.iter().map(line));
    if listed.len() < story.parcels.len() {
        let _ = writeln!(text, "  and {} more", story.parcels.len() - listed.len());
    }
    let _ = write!(text, "\nThe number of the shipment is {}.\n", story.shipment_id);
    text
}

/// Text of others, safe in a header and in a line: a line break in it would begin another one.
fn clean(text: &str) -> String {
    let is_break = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
    text.chars().map(|letter| if is_break(letter) { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn story() -> Story {
        let parcel = |case| Parcel { case, carrier: "USPS".to_owned(), tracking_code: format!("94{case}") };
        Story { shipment_id: Uuid::nil(), order_id: "17".to_owned(), parcels: vec![parcel(1), parcel(2)] }
    }

    fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_755_635_829_123)
    }

    fn from() -> Mailbox {
        "Shop <shop@example.com>".parse().unwrap()
    }

    fn written(kind: Kind, story: &Story) -> String {
        let id = Uuid::from_u128(7);
        String::from_utf8(mail(kind, story, id, &from(), "ada@example.net", at()).unwrap()).unwrap()
    }

    #[test]
    fn a_webhook_says_what_happened_when_and_to_what() {
        let body = String::from_utf8(webhook(Kind::Shipped, &story(), at()).unwrap()).unwrap();
        let expected = concat!(
            r#"{"type":"shipment.shipped","timestamp":"2025-08-19T20:37:09.123Z","#,
            r#""data":{"shipment_id":"00000000-0000-0000-0000-000000000000","order_id":"17","case_count":2,"#,
            r#""cases":[{"case":1,"carrier":"USPS","tracking_code":"941"},"#,
            r#"{"case":2,"carrier":"USPS","tracking_code":"942"}]}}"#,
        );
        assert_eq!(body, expected);
        let corrected = webhook(Kind::Corrected, &story(), at()).unwrap();
        assert!(corrected.starts_with(br#"{"type":"shipment.corrected","#));
    }

    #[test]
    fn a_mail_has_its_id_its_date_and_the_tracking_codes() {
        let mail = written(Kind::Shipped, &story());
        for line in [
            "Message-ID: <00000000-0000-0000-0000-000000000007@example.com>\r\n",
            "Date: Tue, 19 Aug 2025 20:37:09 +0000\r\n",
            "From: Shop <shop@example.com>\r\n",
            "To: ada@example.net\r\n",
            "Subject: Order 17 is on its way\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "  Parcel 1: USPS, 941\r\n",
            "  Parcel 2: USPS, 942\r\n",
        ] {
            assert!(mail.contains(line), "{line:?} is not in\n{mail}");
        }
        let corrected = written(Kind::Corrected, &story());
        assert!(corrected.contains("Subject: Order 17: a shipment was cancelled\r\n"), "{corrected}");
        assert!(corrected.contains("cancelled; please disregard"), "{corrected}");
    }

    #[test]
    fn the_same_is_written_in_the_same_bytes() {
        for kind in Kind::ALL {
            assert_eq!(written(*kind, &story()), written(*kind, &story()));
            assert_eq!(webhook(*kind, &story(), at()).unwrap(), webhook(*kind, &story(), at()).unwrap());
        }
    }

    #[test]
    fn a_shipment_of_any_size_fits_its_column() {
        let parcel = |case| Parcel { case, carrier: "\u{1}".repeat(100), tracking_code: "é".repeat(100) };
        let story = Story { parcels: (1..=5000).map(parcel).collect(), ..story() };
        let webhook = webhook(Kind::Shipped, &story, at()).unwrap();
        assert!(webhook.len() <= 65_536 && webhook.len() > 10_000, "{}", webhook.len());
        let said: serde_json::Value = serde_json::from_slice(&webhook).unwrap();
        assert_eq!(said["data"]["case_count"], 5000);
        let mail = mail(Kind::Shipped, &story, Uuid::nil(), &from(), "ada@example.net", at()).unwrap();
        assert!(mail.len() <= 65_536 && mail.len() > 10_000, "{}", mail.len());
    }

    #[test]
    fn an_address_that_would_say_more_than_an_address_is_refused() {
        let wrong = [
            "",
            "ada",
            "ada@",
            "@example.net",
            "ada@example.net\r\nBcc: eve@example.org",
            "ada@example.net\n",
            "ada@example.net> SIZE=1",
            "ada@exa mple.net",
            "ada@example.net,eve@example.org",
        ];
        for text in wrong {
            assert!(address(text).is_err(), "{text:?}");
        }
        assert!(address("ada.b+c@mail.example.net").is_ok());
    }

    proptest! {
        #[test]
        fn whatever_an_order_is_called_no_header_is_added(order in "\\PC{0,20}[\\r\\n\\t\\x00-\\x1f\u{85}\u{2028}]{0,5}.{0,40}") {
            let names = |mail: &str| -> Vec<String> {
                let (head, _) = mail.split_once("\r\n\r\n").expect("a head and a body");
                // A line that begins with a space goes on with the one before it.
                head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']))
                    .map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
            };
            let plain = names(&written(Kind::Shipped, &story()));
            let story = Story { order_id: format!("{order}\r\nBcc: eve@example.org\r\n\r\nx"), ..story() };
            let mail = written(Kind::Shipped, &story);
            prop_assert!(mail.is_ascii());
            prop_assert!(!mail.replace("\r\n", "").contains(['\r', '\n']), "a lone CR or LF");
            let added: Vec<String> = names(&mail).into_iter().filter(|name| !plain.contains(name)).collect();
            prop_assert!(added.iter().all(|name| name == "Content-Transfer-Encoding"), "{added:?}");
        }
    }
}
