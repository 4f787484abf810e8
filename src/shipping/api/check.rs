//! Checks that collect what is wrong with a body, each mistake with its place. Pure.

use super::problem::FieldError;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Check(pub(super) Vec<FieldError>);

impl Check {
    /// Notes a mistake unless the condition holds.
    pub(super) fn that(&mut self, holds: bool, pointer: impl Into<String>, detail: impl Into<String>) {
        if !holds {
            self.0.push(FieldError::new(pointer, detail));
        }
    }

    /// Text of some length without control characters: Postgres stores no NUL, and nobody prints the others.
    pub(super) fn text(&mut self, text: &str, pointer: impl Into<String>, longest: usize) {
        let right = !text.trim().is_empty() && text.len() <= longest && !text.chars().any(char::is_control);
        self.that(right, pointer, format!("it must have 1 to {longest} bytes and no control characters"));
    }

    /// An optional one.
    pub(super) fn maybe(&mut self, text: Option<&String>, pointer: impl Into<String>, longest: usize) {
        if let Some(text) = text {
            self.text(text, pointer, longest);
        }
    }

    /// A number within bounds.
    pub(super) fn within(&mut self, number: i64, pointer: impl Into<String>, (least, most): (i64, i64)) {
        self.that((least..=most).contains(&number), pointer, format!("it must be from {least} to {most}"));
    }

    /// An order's id: it stands in URLs.
    pub(super) fn order_id(&mut self, id: &str, pointer: impl Into<String>) {
        self.that(is_order_id(id), pointer, "it must have 1 to 100 of the characters A-Z a-z 0-9 - . _ : ~");
    }

    /// What is wrong, if anything.
    ///
    /// # Errors
    /// Every mistake.
    pub(super) fn done(self) -> Result<(), Vec<FieldError>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

/// Whether an order may be called so.
#[must_use]
pub(super) fn is_order_id(id: &str) -> bool {
    (1..=100).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~".contains(&byte))
        // Steps of a path, which clients and proxies resolve.
        && id != "."
        && id != ".."
}
