//! The environment, as an argument.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// A snapshot of environment variables. In production: `std::env::vars_os().collect()`.
///
/// Values stay as the system gave them, because `std::env::vars` panics on one that is not UTF-8, and that one
/// may belong to somebody else.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, OsString>);

/// A variable that is set, but not to text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotUnicode;

impl Env {
    /// The variable's text; `None` if it is not set.
    pub(super) fn get(&self, name: &str) -> Option<Result<&str, NotUnicode>> {
        self.0.get(name).map(|value| value.to_str().ok_or(NotUnicode))
    }

    /// The names of all variables.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Env {
    /// Names that are not UTF-8 are dropped: none of ours is among them.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        Self(
            variables
                .filter_map(|(name, value)| Some((name.into().into_string().ok()?, value.into())))
                .collect(),
        )
    }
}

impl std::fmt::Debug for Env {
    /// Names alone: values may be secrets, ours or others'.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
