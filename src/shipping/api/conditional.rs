//! `If-Match`, `If-None-Match` and the tags they compare (RFC 9110, section 13). Pure.

use sha2::{Digest, Sha256};

/// What a header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`: any at all.
    Any,
    /// One of these.
    These(Vec<Tag>),
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    /// Between the quotation marks.
    pub(super) value: String,
    /// `W/` in front.
    pub(super) weak: bool,
}

impl Tags {
    /// Reads a header's value; `None` if it is not written as it should be.
    #[must_use]
    pub(super) fn read(value: &str) -> Option<Self> {
        if value.trim() == "*" {
            return Some(Self::Any);
        }
        let (mut tags, mut rest) = (Vec::new(), value.trim());
        loop {
            let weak = rest.starts_with("W/");
            let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
            let (tag, after) = quoted.split_once('"')?;
            if !tag.chars().all(|letter| letter == '!' || ('#'..='~').contains(&letter)) {
                return None;
            }
            tags.push(Tag { value: tag.to_owned(), weak });
            rest = after.trim_start();
            if rest.is_empty() {
                return Some(Self::These(tags));
            }
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }

    /// For `If-Match`: whether what there is has such a tag. A weak tag matches nothing.
    #[must_use]
    pub(super) fn strongly(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|other| !other.weak && other.value == tag),
        }
    }

    /// For `If-None-Match`: weak or not.
    #[must_use]
    pub(super) fn weakly(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|other| other.value == tag),
        }
    }
}

/// The tag of a shipment: its version for people, and a hash of all that is shown, for a parcel moves on without a new
/// version.
#[must_use]
pub(super) fn tag(version: i64, body: &str) -> String {
    let hash = Sha256::digest(body);
    let short: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{version}-{short}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_tags_and_the_star_are_read() {
        assert_eq!(Tags::read(" * "), Some(Tags::Any));
        let tags = Tags::read(r#""1", W/"2","""#).expect("a list");
        assert!(tags.strongly("1") && tags.weakly("2") && tags.weakly("") && !tags.strongly("2"));
        for wrong in ["", "1", "\"1", "\"1\" \"2\"", "\"1\",", "w/\"1\"", "\"a b\"", "*, \"1\""] {
            assert_eq!(Tags::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_changes_the_tag() {
        assert_ne!(tag(1, "a"), tag(1, "b"));
        assert!(tag(7, "a").starts_with("7-"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(value in ".{0,60}") {
            let _ = Tags::read(&value);
        }
    }
}
