//! Whole numbers as JSON has them: `2` and `2.0` are the same one. Pure.

use std::{fmt, marker::PhantomData};

use serde::{Deserializer, de};

/// The largest number up to which all whole numbers are doubles: 2 to the power of 53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// For `deserialize_with`.
pub(super) fn number<'de, T: TryFrom<i64>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_i64(Whole(PhantomData))
}

struct Whole<T>(PhantomData<T>);

impl<T: TryFrom<i64>> de::Visitor<'_> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number of at most {} bits", size_of::<T>() * 8)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let signed = i64::try_from(number).ok().and_then(|number| T::try_from(number).ok());
        signed.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within 53 bits")]
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        let whole = number.fract() == 0.0 && number.abs() <= EXACT;
        let whole = whole.then_some(number as i64).and_then(|number| T::try_from(number).ok());
        whole.ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Small {
        #[serde(deserialize_with = "super::number")]
        number: i16,
    }

    #[test]
    fn whole_is_whole_however_it_is_written() {
        let read = |text: &str| {
            serde_json::from_str::<Small>(&format!("{{\"number\": {text}}}")).ok().map(|small| small.number)
        };
        for (text, number) in [("2", 2), ("2.0", 2), ("-3", -3), ("1e2", 100), ("32767", 32767)] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for wrong in
            ["2.5", "32768", "1e400", "-1e300", "99999999999999999999", "\"2\"", "null", "NaN", "true"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
