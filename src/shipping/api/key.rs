//! The Idempotency-Key of a request, and what tells two requests apart. Pure.

use sha2::{Digest, Sha256};

/// The longest key, in bytes.
pub(super) const LONGEST: usize = 255;

/// Reads the header: a string in quotation marks, as the IETF's draft has it, or the same without them, as most clients
/// send it. Returns the string.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(value: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(value).map_err(|_| "it has characters beyond ASCII")?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => unquote(rest.strip_suffix('"').ok_or("its quotation mark is never closed")?)?,
        None => text.to_owned(),
    };
    check(&key)?;
    Ok(key)
}

/// Whether a key may be one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        return Err("it is empty");
    }
    if key.len() > LONGEST {
        return Err("it is longer than 255 characters");
    }
    let printable = key.bytes().all(|byte| byte.is_ascii_graphic());
    if printable { Ok(()) } else { Err("it has spaces, or characters that are not printable ASCII") }
}

/// The inside of a string of a structured field (RFC 9651): `\"` and `\\` are all that may be escaped.
fn unquote(text: &str) -> Result<String, &'static str> {
    let mut key = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Err("it is more than one string"),
            '\\' => match letters.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return Err("only a quotation mark and a backslash may be escaped"),
            },
            other => key.push(other),
        }
    }
    Ok(key)
}

/// SHA-256 of what is asked for: the operation, and its input as this program writes it. So the same request with other
/// spaces is the same request.
#[must_use]
pub(super) fn fingerprint(operation: &str, input: &str) -> [u8; 32] {
    Sha256::new().chain_update(operation).chain_update([0]).chain_update(input).finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_the_same_with_quotation_marks_and_without() {
        assert_eq!(read(b"\"abc-1\""), read(b" abc-1 "));
        assert_eq!(read(br#""a\"b\\c""#), Ok(r#"a"b\c"#.to_owned()));
        assert_eq!(read(&[b'k'; 255]).map(|key| key.len()), Ok(255));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = [b'k'; 256];
        for wrong in [
            &b""[..],
            b"\"\"",
            b"\"",
            b"\"a",
            b"a b",
            b"\"a\" \"b\"",
            b"\"a\\n\"",
            b"a\tb",
            "ä".as_bytes(),
            &long,
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_operation_is_part_of_the_request() {
        assert_ne!(fingerprint("a", "bc"), fingerprint("ab", "c"));
    }

    proptest! {
        #[test]
        fn whatever_is_taken_can_be_stored(value in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(key) = read(&value) {
                prop_assert!((1..=LONGEST).contains(&key.len()) && !key.contains('\0'));
            }
        }
    }
}
