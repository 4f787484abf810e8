//! Text that must not be read over anybody's shoulder.

use std::fmt;

use super::kind::{Invalid, SHORT_STRING};

/// Of a token: shorter ones can be guessed.
pub(super) const SHORTEST_TOKEN: usize = 16;

/// What is printed in a secret's stead.
pub const REDACTED: &str = "[redacted]";

/// A secret: `Debug` and `Display` redact it, so that it survives a careless log line.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for the client library that connects with it, never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A token that is sent in a header.
pub(super) fn token(text: &str) -> Result<Secret, Invalid> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(Invalid::NotVisible)
    } else if text.len() < SHORTEST_TOKEN {
        Err(Invalid::TooShort)
    } else if text.len() > SHORT_STRING {
        Err(Invalid::TooLong(text.len()))
    } else {
        Ok(Secret::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_travels_in_a_header_as_it_is() {
        assert_eq!(token("0123456789abcdef"), Ok(Secret::new("0123456789abcdef")));
        assert_eq!(token("0123456789abcde"), Err(Invalid::TooShort));
        assert_eq!(token(""), Err(Invalid::TooShort));
        assert_eq!(token(&"x".repeat(256)), Err(Invalid::TooLong(256)));
        for text in ["0123456789 abcdef", "0123456789abcdef\n", "0123456789abcdéf"] {
            assert_eq!(token(text), Err(Invalid::NotVisible), "{text}");
        }
    }

    #[test]
    fn a_secret_redacts_itself_in_debug_and_display() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(secret.expose(), "hunter2");
    }
}
