//! Who may call: bearer tokens, of which only hashes are known here.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::bucket::{Bucket, Rate};

/// The longest name of a caller, in bytes.
const LONGEST_NAME: usize = 100;

/// A caller: its name owns idempotency keys and webhook endpoints, and has a rate.
pub(super) struct Caller {
    /// Its name.
    pub(super) name: String,
    bucket: Mutex<Bucket>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Caller {
    /// A caller that has not called yet.
    #[must_use]
    pub(super) fn new(name: &str, rate: Rate) -> Self {
        Self { name: name.to_owned(), bucket: Mutex::new(Bucket::full(rate, Instant::now())) }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// When it is one too many: after how long to come again.
    pub(super) fn admit(&self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(rate, now)
    }
}

/// Everybody who may call.
#[derive(Debug, Default)]
pub struct Callers(Vec<([u8; 32], Arc<Caller>)>);

/// What is wrong with a list of tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// A line is not `name:hash`.
    #[error("line {0} is not a name, a colon and the SHA-256 of a token in 64 hex digits")]
    Line(usize),
    /// Two lines have one token.
    #[error("line {0} repeats a token of a line before it")]
    Repeated(usize),
    /// There is no line.
    #[error("it holds no token, so nobody could call")]
    Empty,
}

impl Callers {
    /// Reads `name:sha256hex` lines; empty ones and those that begin with `#` are skipped. A name may have several
    /// tokens, so that one can be replaced by another.
    ///
    /// # Errors
    /// When a line is something else.
    pub fn read(text: &str, rate: Rate) -> Result<Self, TokensError> {
        let mut callers: Vec<([u8; 32], Arc<Caller>)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hex) = line.split_once(':').ok_or(TokensError::Line(number))?;
            let (name, hash) = (name.trim(), unhex(hex.trim()).ok_or(TokensError::Line(number))?);
            if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
                return Err(TokensError::Line(number));
            }
            if callers.iter().any(|(other, _)| *other == hash) {
                return Err(TokensError::Repeated(number));
            }
            let known = callers.iter().find(|(_, caller)| caller.name == name);
            let caller =
                known.map_or_else(|| Arc::new(Caller::new(name, rate)), |(_, caller)| caller.clone());
            callers.push((hash, caller));
        }
        if callers.is_empty() { Err(TokensError::Empty) } else { Ok(Self(callers)) }
    }

    /// Whose token an `Authorization` header brings. All tokens are compared, each in the same time.
    #[must_use]
    pub(super) fn identify(&self, authorization: &[u8]) -> Option<Arc<Caller>> {
        let (scheme, token) = authorization.split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
        self.0.iter().fold(
            None,
            |found, (known, caller)| {
                if bool::from(known.ct_eq(&hash)) { Some(caller.clone()) } else { found }
            },
        )
    }
}

fn unhex(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 1.0, burst: 1.0 };
    // printf secret | sha256sum; printf other | sha256sum
    const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    const OTHER: &str = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

    #[test]
    fn a_token_names_its_caller_and_a_caller_may_have_two() {
        let callers =
            Callers::read(&format!("# ours\n\nshop:{SECRET}\nshop: {OTHER}\n"), RATE).expect("tokens");
        for token in ["Bearer secret", "bearer other", "Bearer  secret "] {
            assert_eq!(
                callers.identify(token.as_bytes()).map(|caller| caller.name.clone()),
                Some("shop".into())
            );
        }
        for wrong in
            ["", "Bearer", "Bearer ", "Basic secret", "Bearer Secret", SECRET, &format!("Bearer {SECRET}")]
        {
            assert!(callers.identify(wrong.as_bytes()).is_none(), "{wrong}");
        }
        let first = callers.identify(b"Bearer secret").expect("known");
        assert!(first.admit(RATE, Instant::now()).is_ok());
        assert!(
            callers.identify(b"Bearer other").expect("known").admit(RATE, Instant::now()).is_err(),
            "one bucket"
        );
    }

    #[test]
    fn mistakes_in_the_list_are_named_by_their_line() {
        let read = |text: &str| Callers::read(text, RATE).err();
        assert_eq!(read("# nothing\n"), Some(TokensError::Empty));
        assert_eq!(read(&format!("a:{SECRET}\nb:{SECRET}")), Some(TokensError::Repeated(2)));
        for wrong in ["shop", "shop:secret", &format!(":{SECRET}"), &format!("a:+{}", &SECRET[1..])] {
            assert_eq!(read(wrong), Some(TokensError::Line(1)), "{wrong}");
        }
    }
}
