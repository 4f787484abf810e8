//! The steps of a shipment, and what each is about.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::named::{UnknownName, named};

named! {
    /// One of the six steps, in the order in which they are done. Each has a worker of its own. Its name is the type of its
    /// work orders, too.
    #[derive(Serialize, Deserialize)]
    #[serde(into = "String", try_from = "String")]
    Step, "step" {
        /// The carrier says that the address exists.
        ValidateAddress = "validate_address",
        /// A label is bought for a case. The pivot: it costs money.
        BuyLabel = "buy_label",
        /// Tracking codes are put onto the shipment and its cases.
        RecordTracking = "record_tracking",
        /// The one invoice of the shipment.
        CreateInvoice = "create_invoice",
        /// The order's quantities turn from reserved to shipped.
        FulfilOrder = "fulfil_order",
        /// One party is told, by mail or webhook.
        Notify = "notify",
    }
}

impl Step {
    /// Whether there is something to undo. Knowing an address or a tracking code harms nobody.
    #[must_use]
    pub const fn has_compensation(self) -> bool {
        !matches!(self, Self::ValidateAddress | Self::RecordTracking)
    }

    /// Whether the shipment's fate hangs on it. A notification that fails compensates nothing and holds nothing up.
    #[must_use]
    pub const fn is_critical(self) -> bool {
        !matches!(self, Self::Notify)
    }
}

/// What a ledger entry is about. Written `shipment`, `case/1`, `mail/2`, `webhook/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Subject {
    /// The shipment as a whole.
    Shipment,
    /// A case, by its number from 1.
    Case(i16),
    /// A party told by mail, by its number in the order.
    Mail(i16),
    /// A party told by webhook, by its number in the order.
    Webhook(i16),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shipment => f.write_str("shipment"),
            Self::Case(number) => write!(f, "case/{number}"),
            Self::Mail(number) => write!(f, "mail/{number}"),
            Self::Webhook(number) => write!(f, "webhook/{number}"),
        }
    }
}

impl FromStr for Subject {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName::new("subject", text);
        if text == "shipment" {
            return Ok(Self::Shipment);
        }
        let (kind, number) = text.split_once('/').ok_or_else(unknown)?;
        let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(unknown)?;
        match kind {
            "case" => Ok(Self::Case(number)),
            "mail" => Ok(Self::Mail(number)),
            "webhook" => Ok(Self::Webhook(number)),
            _ => Err(unknown()),
        }
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = UnknownName;

            fn try_from(text: String) -> Result<Self, UnknownName> {
                text.parse()
            }
        }
    };
}

as_text!(Step);
as_text!(Subject);

/// Names an entry of a shipment's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Which step.
    pub step: Step,
    /// About what.
    pub subject: Subject,
}

impl Key {
    /// A step about the shipment as a whole.
    #[must_use]
    pub const fn whole(step: Step) -> Self {
        Self { step, subject: Subject::Shipment }
    }

    /// What is done when nobody knows whether the work was done: its answer was lost, or its worker died.
    #[must_use]
    pub const fn recovery(self) -> Recovery {
        match (self.step, self.subject) {
            (Step::BuyLabel, _) => Recovery::LookUp,
            (Step::Notify, Subject::Mail(_)) => Recovery::Person,
            _ => Recovery::Repeat,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.step, self.subject)
    }
}

/// The way out of not knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Doing it again does it once: it only reads, it commits together with its entry, or the receiver dedupes by our id.
    Repeat,
    /// The third party is asked what became of it. Never done again before that.
    LookUp,
    /// Nobody can be asked (a mail server forgets), so a person decides.
    Person,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for step in Step::ALL {
            assert_eq!(step.as_str().parse(), Ok(*step));
        }
        for subject in [Subject::Shipment, Subject::Case(1), Subject::Mail(2), Subject::Webhook(i16::MAX)] {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        for wrong in ["", "case", "case/", "case/0", "case/-1", "case/99999", "fax/1", "mail/1/2"] {
            assert!(wrong.parse::<Subject>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_costs_money_is_never_simply_repeated() {
        assert_eq!(Key { step: Step::BuyLabel, subject: Subject::Case(1) }.recovery(), Recovery::LookUp);
    }
}
