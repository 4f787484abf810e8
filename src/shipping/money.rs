//! Money: whole minor units of one currency. No fractions, no floats, no sums of different currencies.

use std::fmt;

/// A currency by its three letters (ISO 4217).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads `EUR`.
    ///
    /// # Errors
    /// When it is not three capital letters.
    pub fn new(code: &str) -> Result<Self, MoneyError> {
        match code.as_bytes() {
            [a, b, c] if code.bytes().all(|letter| letter.is_ascii_uppercase()) => Ok(Self([*a, *b, *c])),
            _ => Err(MoneyError::NoCurrency(code.chars().take(20).collect())),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    /// In the currency's smallest unit: cents, as a rule.
    pub minor: i64,
    /// Of which currency.
    pub currency: Currency,
}

impl Money {
    /// Nothing, in a currency.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// The sum.
    ///
    /// # Errors
    /// When the currencies differ or the sum is too large.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Currencies(self.currency, other.currency));
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::TooLarge)?;
        Ok(Self { minor, ..self })
    }

    /// So many times the amount.
    ///
    /// # Errors
    /// When the product is too large.
    pub fn times(self, quantity: i32) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(i64::from(quantity)).ok_or(MoneyError::TooLarge)?;
        Ok(Self { minor, ..self })
    }

    /// Reads a decimal such as a carrier's `"7.58"`, in a currency with two decimals. More decimals must be zeros: an
    /// amount is never rounded.
    ///
    /// # Errors
    /// When it is no such number.
    pub fn from_decimal(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let wrong = || MoneyError::NoAmount(text.chars().take(40).collect());
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(decimals) {
            return Err(wrong());
        }
        let (cents, rest) = decimals.split_at(decimals.len().min(2));
        if rest.bytes().any(|digit| digit != b'0') {
            return Err(wrong());
        }
        let minor = format!("{whole}{cents:0<2}").parse().map_err(|_| MoneyError::TooLarge)?;
        Ok(Self { minor, currency })
    }
}

/// Why money could not be read or added up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three capital letters.
    #[error("{0:?} is no currency: three capital letters are, such as EUR")]
    NoCurrency(String),
    /// Not a decimal with at most two decimals.
    #[error("{0:?} is no amount: digits and at most two decimals are, such as 7.58")]
    NoAmount(String),
    /// Two currencies do not add up.
    #[error("{0} and {1} do not add up")]
    Currencies(Currency, Currency),
    /// Beyond 64 bits.
    #[error("the amount is too large")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn euro(minor: i64) -> Money {
        Money { minor, currency: Currency(*b"EUR") }
    }

    #[test]
    fn decimals_are_read_exactly_or_not_at_all() {
        let read = |text: &str| Money::from_decimal(text, euro(0).currency);
        for (text, minor) in [("7.58", 758), ("7", 700), ("7.5", 750), ("0.07", 7), ("7.580", 758)] {
            assert_eq!(read(text), Ok(euro(minor)), "{text}");
        }
        for wrong in ["", ".5", "-1", "+1", "1e3", "7.581", "7,58", "7.5.8", " 7", "٧", "1.2€", "1.-"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read("99999999999999999999"), Err(MoneyError::TooLarge));
    }

    #[test]
    fn amounts_of_two_currencies_do_not_add_up() {
        let dollar = Money::zero(Currency(*b"USD"));
        assert!(euro(1).plus(dollar).is_err());
        assert_eq!(euro(1).plus(euro(2)), Ok(euro(3)));
        assert_eq!(euro(i64::MAX).plus(euro(1)), Err(MoneyError::TooLarge));
        assert_eq!(euro(i64::MAX).times(2), Err(MoneyError::TooLarge));
        assert_eq!(Currency::new("EUR"), Ok(euro(0).currency));
        for wrong in ["eur", "EU", "EURO", "E\u{c0}", ""] {
            assert!(Currency::new(wrong).is_err(), "{wrong}");
        }
    }
}
