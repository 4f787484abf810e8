//! Errors in words.

use std::error::Error;

/// An error with its causes, in one line, outermost first.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(error.source(), |cause| (*cause).source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_is_told_with_its_causes_outermost_first() {
        assert_eq!(chain(&Outer(std::io::Error::other("refused"))), "cannot connect: refused");
    }
}
