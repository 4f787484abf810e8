//! Whether a webhook is the carrier's, judged on its bytes before anything of them is parsed. Pure.
//!
//! The carrier signs twice, with HMAC-SHA256 and the secret that was given to it, written as `hmac-sha256-hex=` and 64
//! hex digits: `X-Hmac-Signature` over the body alone, and `X-Hmac-Signature-V2` over the headers `X-Timestamp` (a
//! date as in mail) and `X-Path`, with the method between them and the body behind. Only the second one goes out of
//! date. A copy of an old webhook with the second signature cut off passes as a first version, so either require the
//! second, or rely on each event's id being handled once.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::Secret;

/// The least length of a secret, in bytes.
const SECRET: usize = 16;

/// What is accepted.
#[derive(Debug, Clone)]
pub struct SignaturePolicy {
    secrets: Vec<Secret>,
    /// How far its timestamp may be from now, either way.
    pub tolerance: Duration,
    /// Whether a webhook without the second version is refused.
    pub require_v2: bool,
}

/// Secrets that can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is none, so every webhook would be refused.
    #[error("there is no webhook secret; give the one that the carrier was given")]
    None,
    /// One is short.
    #[error("a webhook secret is shorter than 16 characters; choose a longer one")]
    Short,
    /// The carrier normalises secrets beyond ASCII, which is a matter of taste between libraries.
    #[error("a webhook secret has characters beyond ASCII; choose another one")]
    NotAscii,
}

impl SignaturePolicy {
    /// Accepts what is signed with any of these: the current one, and the previous one while it is being replaced.
    ///
    /// # Errors
    /// When a secret can't be used.
    pub fn new(secrets: Vec<Secret>, tolerance: Duration, require_v2: bool) -> Result<Self, SecretError> {
        if secrets.is_empty() {
            return Err(SecretError::None);
        }
        for secret in &secrets {
            if secret.expose().len() < SECRET {
                return Err(SecretError::Short);
            }
            if !secret.expose().is_ascii() {
                return Err(SecretError::NotAscii);
            }
        }
        Ok(Self { secrets, tolerance, require_v2 })
    }
}

/// The parts of a request that are signed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SignedRequest<'a> {
    /// The method, as `POST`.
    pub method: &'a str,
    /// The path that the carrier was told to call.
    pub path: &'a str,
    /// `X-Hmac-Signature`.
    pub signature: Option<&'a str>,
    /// `X-Hmac-Signature-V2`.
    pub signature_v2: Option<&'a str>,
    /// `X-Timestamp`.
    pub timestamp: Option<&'a str>,
    /// `X-Path`.
    pub signed_path: Option<&'a str>,
    /// The body's bytes as they came.
    pub body: &'a [u8],
}

/// Why a webhook is not accepted. Told in the log; the caller is told nothing but 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header is missing.
    #[error("it has no header {0}")]
    Missing(&'static str),
    /// The signature is not written as it should be.
    #[error("its signature is malformed")]
    Malformed,
    /// The signature is another one.
    #[error("its signature is not made with a secret of ours")]
    Mismatch,
    /// It was signed for another path.
    #[error("it was signed for another path")]
    Path,
    /// The timestamp is no date.
    #[error("its timestamp is not a date")]
    Timestamp,
    /// It is too old, or from the future.
    #[error("its timestamp is too far from now")]
    Stale,
}

/// Checks a webhook's signature. The comparison takes the same time wherever the difference is, and the timestamp is
/// looked at only once it is known to be the carrier's.
///
/// # Errors
/// Why it is not accepted.
pub fn verify(
    policy: &SignaturePolicy,
    request: &SignedRequest<'_>,
    now: SystemTime,
) -> Result<(), SignatureError> {
    let Some(signature) = request.signature_v2 else {
        if policy.require_v2 {
            return Err(SignatureError::Missing("X-Hmac-Signature-V2"));
        }
        let signature = request.signature.ok_or(SignatureError::Missing("X-Hmac-Signature"))?;
        return matches(policy, signature, &[request.body]);
    };
    let timestamp = request.timestamp.ok_or(SignatureError::Missing("X-Timestamp"))?;
    let path = request.signed_path.ok_or(SignatureError::Missing("X-Path"))?;
    let parts = [timestamp.as_bytes(), request.method.as_bytes(), path.as_bytes(), request.body];
    matches(policy, signature, &parts)?;
    if path != request.path {
        return Err(SignatureError::Path);
    }
    let signed = mail_date(timestamp).ok_or(SignatureError::Timestamp)?;
    let apart = now.duration_since(signed).unwrap_or_else(|ahead| ahead.duration());
    if apart > policy.tolerance { Err(SignatureError::Stale) } else { Ok(()) }
}

fn matches(policy: &SignaturePolicy, signature: &str, parts: &[&[u8]]) -> Result<(), SignatureError> {
    let hex = signature.trim().strip_prefix("hmac-sha256-hex=").ok_or(SignatureError::Malformed)?;
    let given = unhex(hex).ok_or(SignatureError::Malformed)?;
    for secret in &policy.secrets {
        // A key of any length will do for HMAC.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { continue };
        parts.iter().for_each(|part| mac.update(part));
        if mac.verify_slice(&given).is_ok() {
            return Ok(());
        }
    }
    Err(SignatureError::Mismatch)
}

fn unhex(hex: &str) -> Option<[u8; 32]> {
    let hex = hex.as_bytes();
    if hex.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Reads a date as in mail: `Tue, 19 Aug 2025 20:37:09 -0000`, or with another offset from UTC.
fn mail_date(text: &str) -> Option<SystemTime> {
    let (date, zone) = text.trim().rsplit_once(' ')?;
    let utc = httpdate::parse_http_date(&format!("{date} GMT")).ok()?;
    if zone == "GMT" || zone == "UTC" {
        return Some(utc);
    }
    let (ahead, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (true, digits),
        ("-", digits) => (false, digits),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = (digits[..2].parse::<u64>().ok()?, digits[2..].parse::<u64>().ok()?);
    let offset = Duration::from_secs(hours * 3600 + minutes * 60);
    if ahead { utc.checked_sub(offset) } else { utc.checked_add(offset) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const DATE: &str = "Tue, 19 Aug 2025 20:37:09 -0000";
    // Made with another implementation: Python's hmac, key "correct horse battery".
    const V1: &str = "hmac-sha256-hex=759fb21c198686173891eb852b004eaa3546eb9dca7d6b35f9f7e1a20d4cf805";
    const V2: &str = "hmac-sha256-hex=8c199df6d2e593ab014c66ade44b7c376923fb877a3d49f7aa38922b29db0aca";

    fn policy(secrets: &[&str], require_v2: bool) -> SignaturePolicy {
        let secrets = secrets.iter().copied().map(Secret::new).collect();
        SignaturePolicy::new(secrets, Duration::from_secs(300), require_v2).expect("they are usable")
    }

    fn request() -> SignedRequest<'static> {
        SignedRequest {
            method: "POST",
            path: "/webhooks/carrier",
            signature: Some(V1),
            signature_v2: Some(V2),
            timestamp: Some(DATE),
            signed_path: Some("/webhooks/carrier"),
            body: BODY,
        }
    }

    fn signed() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_755_635_829)
    }

    #[test]
    fn both_versions_are_accepted_with_the_current_and_the_previous_secret() {
        for secrets in [&["correct horse battery"][..], &["a secret that is new", "correct horse battery"]] {
            let v1 = SignedRequest { signature_v2: None, ..request() };
            assert_eq!(verify(&policy(secrets, false), &request(), signed()), Ok(()));
            assert_eq!(verify(&policy(secrets, false), &v1, signed()), Ok(()));
            let missing = SignatureError::Missing("X-Hmac-Signature-V2");
            assert_eq!(verify(&policy(secrets, true), &v1, signed()), Err(missing));
        }
        let other = policy(&["some other secret"], false);
        assert_eq!(verify(&other, &request(), signed()), Err(SignatureError::Mismatch));
    }

    #[test]
    fn a_change_of_anything_that_is_signed_is_noticed() {
        let policy = policy(&["correct horse battery"], false);
        for changed in [
            SignedRequest { body: br#"{"id":"evt_2"}"#, ..request() },
            SignedRequest { method: "PUT", ..request() },
            SignedRequest { timestamp: Some("Tue, 19 Aug 2025 20:37:10 -0000"), ..request() },
            SignedRequest { signed_path: Some("/webhooks/other"), path: "/webhooks/other", ..request() },
            SignedRequest { signature_v2: Some(V1), ..request() },
        ] {
            assert_eq!(verify(&policy, &changed, signed()), Err(SignatureError::Mismatch), "{changed:?}");
        }
        let elsewhere = SignedRequest { path: "/webhooks/other", ..request() };
        assert_eq!(verify(&policy, &elsewhere, signed()), Err(SignatureError::Path));
        for bad in ["", "hmac-sha256-hex=", "hmac-sha256-hex=00", "sha1=00"] {
            let malformed = SignedRequest { signature_v2: Some(bad), ..request() };
            assert_eq!(verify(&policy, &malformed, signed()), Err(SignatureError::Malformed), "{bad}");
        }
    }

    #[test]
    fn an_old_webhook_is_refused_and_one_from_the_future_as_well() {
        let policy = policy(&["correct horse battery"], false);
        let tolerance = Duration::from_secs(300);
        for now in [signed() - tolerance, signed() + tolerance] {
            assert_eq!(verify(&policy, &request(), now), Ok(()));
        }
        let second = Duration::from_secs(1);
        for now in [signed() - tolerance - second, signed() + tolerance + second] {
            assert_eq!(verify(&policy, &request(), now), Err(SignatureError::Stale));
        }
    }

    #[test]
    fn dates_of_any_zone_are_read() {
        for date in ["Tue, 19 Aug 2025 20:37:09 GMT", "Tue, 19 Aug 2025 22:07:09 +0130", DATE] {
            assert_eq!(mail_date(date), Some(signed()), "{date}");
        }
        for date in ["", "yesterday", "Tue, 19 Aug 2025 20:37:09", "Tue, 19 Aug 2025 20:37:09 +1"] {
            assert_eq!(mail_date(date), None, "{date}");
        }
    }

    #[test]
    fn secrets_that_protect_nothing_are_refused() {
        let new = |secrets: &[&str]| {
            let secrets = secrets.iter().copied().map(Secret::new).collect();
            SignaturePolicy::new(secrets, Duration::ZERO, false).err()
        };
        assert_eq!(new(&[]), Some(SecretError::None));
        assert_eq!(new(&["0123456789abcdef", "short"]), Some(SecretError::Short));
        assert_eq!(new(&["0123456789abcdéf"]), Some(SecretError::NotAscii));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic_or_pass(
            signature in ".*", timestamp in ".*", body in prop::collection::vec(any::<u8>(), 0..50)
        ) {
            let request = SignedRequest {
                signature: Some(&signature),
                signature_v2: Some(&signature),
                timestamp: Some(&timestamp),
                body: &body,
                ..request()
            };
            prop_assert!(verify(&policy(&["correct horse battery"], false), &request, signed()).is_err());
            let _ = mail_date(&timestamp);
        }
    }
}
