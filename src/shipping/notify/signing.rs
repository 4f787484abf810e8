//! Signatures of webhooks after Standard Webhooks, version 1: HMAC-SHA256 over id, time and body. Pure.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How a secret's text begins.
const PREFIX: &str = "whsec_";

/// What signs the webhooks of an endpoint: 24 to 64 bytes, as the specification wants it. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

/// A text or bytes that are no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It does not begin as a secret does.
    #[error("a signing secret begins with whsec_")]
    Prefix,
    /// What follows is no base64.
    #[error("what follows whsec_ in a signing secret has to be base64")]
    Base64,
    /// Too short to protect, or too long.
    #[error("a signing secret has to have 24 to 64 bytes, not {0}")]
    Length(usize),
}

impl SigningSecret {
    /// From its bytes.
    ///
    /// # Errors
    /// When there are too few or too many.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = bytes.into();
        match bytes.len() {
            24..=64 => Ok(Self(bytes)),
            length => Err(SecretError::Length(length)),
        }
    }

    /// Reads `whsec_` and base64.
    ///
    /// # Errors
    /// When it is not that.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        Self::from_bytes(STANDARD.decode(encoded).map_err(|_| SecretError::Base64)?)
    }

    /// As its owner is told it, once.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// As it is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The signature of one webhook, with its version.
    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
        // A key of any length will do for HMAC.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The value of `webhook-signature`: one signature a secret, the current one's first. The time is in seconds since the
/// Unix epoch, that of `webhook-timestamp`.
#[must_use]
pub fn signatures(id: &str, timestamp: u64, body: &[u8], secrets: &[&SigningSecret]) -> String {
    let each: Vec<String> = secrets.iter().filter_map(|secret| secret.sign(id, timestamp, body)).collect();
    each.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example that the specification's own libraries are tested with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_specifications_example_is_signed_as_it_says() {
        let secret = SigningSecret::parse(SECRET).expect("it is one");
        assert_eq!(signatures(ID, TIME, BODY, &[&secret]), SIGNATURE);
        assert_eq!(secret.reveal(), SECRET);
    }

    #[test]
    fn during_a_rotation_both_secrets_sign_the_current_one_first() {
        let (new, old) = (SigningSecret::from_bytes([7; 32]).unwrap(), SigningSecret::parse(SECRET).unwrap());
        let both = signatures(ID, TIME, BODY, &[&new, &old]);
        let (first, second) = both.split_once(' ').expect("two, apart by a space");
        assert_eq!((first, second), (signatures(ID, TIME, BODY, &[&new]).as_str(), SIGNATURE));
    }

    #[test]
    fn everything_that_is_signed_matters() {
        let secret = SigningSecret::parse(SECRET).unwrap();
        for (id, time, body) in [("msg_q", TIME, BODY), (ID, TIME + 1, BODY), (ID, TIME, &b"{}"[..])] {
            assert_ne!(signatures(id, time, body, &[&secret]), SIGNATURE);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_and_a_secret_is_not_shown() {
        assert_eq!(SigningSecret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Err(SecretError::Prefix));
        assert_eq!(SigningSecret::parse("whsec_!"), Err(SecretError::Base64));
        assert_eq!(SigningSecret::parse("whsec_AAAA"), Err(SecretError::Length(3)));
        assert_eq!(SigningSecret::from_bytes([1; 65]), Err(SecretError::Length(65)));
        assert_eq!(format!("{:?}", SigningSecret::parse(SECRET).unwrap()), "[redacted]");
    }
}
