//! Reading requests: queries and bodies, bounded, with nothing in them that nobody knows.

use std::{str::FromStr, time::Duration};

use axum::body::{Body, to_bytes};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The longest body, in bytes: 500 event ids and a reason are 24,000.
const BODY: usize = 64 * 1024;
/// How long it may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);

/// The longest text of a parameter, in bytes.
const PARAMETER: usize = 4096;

/// The parameters of a query.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Those of these names, each with a text; an empty one counts as not given.
    ///
    /// # Errors
    /// When there is another one.
    pub(super) fn read(query: Option<&str>, names: &[&str]) -> Result<Self, Problem> {
        let mut found = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !names.contains(&name.as_ref()) {
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let short: String = name.chars().take(100).collect();
                return Err(Problem::bad(format!("{short:?} is no parameter here"))
                    .cure(format!("known are: {known}")));
            }
            if value.len() > PARAMETER || value.contains('\0') {
                return Err(Problem::bad(format!("{name} has {} bytes", value.len()))
                    .cure(format!("at most {PARAMETER}, and no NUL")));
            }
            if !value.is_empty() {
                found.push((name.into_owned(), value.into_owned()));
            }
        }
        Ok(Self(found))
    }

    /// Every text of a parameter.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The only text of a parameter.
    ///
    /// # Errors
    /// When there are several.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.all(name)[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(Problem::bad(format!("{name} is there more than once")).cure("give it once")),
        }
    }

    /// The only text of a parameter that has to be there.
    ///
    /// # Errors
    /// When there are several, or none.
    pub(super) fn needed(&self, name: &str) -> Result<&str, Problem> {
        self.one(name)?
            .ok_or_else(|| Problem::bad(format!("{name} is not there")).cure(format!("add ?{name}=…")))
    }

    /// The only text, understood.
    ///
    /// # Errors
    /// When there are several, or it is something else.
    pub(super) fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        self.one(name)?.map(|text| parsed(name, text, expected)).transpose()
    }

    /// A number between these, or a default.
    ///
    /// # Errors
    /// When it is none of those.
    pub(super) fn number(&self, name: &str, default: u64, most: u64) -> Result<u64, Problem> {
        let expected = format!("a whole number from 1 to {most}");
        let number = self.parsed(name, &expected)?.unwrap_or(default);
        if (1..=most).contains(&number) {
            Ok(number)
        } else {
            Err(Problem::bad(format!("{name} is {number}")).cure(format!("give {expected}")))
        }
    }
}

/// A text, understood.
///
/// # Errors
/// When it is something else.
pub(super) fn parsed<T: FromStr>(name: &str, text: &str, expected: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| {
        let short: String = text.chars().take(100).collect();
        Problem::bad(format!("{name} is {short:?}")).cure(format!("give {expected}"))
    })
}

/// A JSON body.
///
/// # Errors
/// When it is too long, does not arrive, or is something else than what is asked for: then the problem says where.
pub(super) async fn body<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let Ok(read) = tokio::time::timeout(ARRIVAL, to_bytes(body, BODY)).await else {
        return Err(Problem::slow(format!("the body did not arrive within {ARRIVAL:?}; nothing was done")));
    };
    let bytes = read.map_err(|error| {
        Problem::too_large(format!("the body can't be read: {error}"))
            .cure(format!("send at most {BODY} bytes"))
    })?;
    let mut deserializer = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let at = error.path().to_string();
        let place = if at == "." { String::new() } else { format!(" at {at}") };
        Problem::bad(format!("the body is not as expected{place}: {}", error.inner()))
    })?;
    deserializer.end().map_err(|error| Problem::bad(format!("the body is not JSON: {error}")))?;
    Ok(value)
}

/// Why something is done, for the audit.
///
/// # Errors
/// When it is too long.
pub(super) fn note(note: Option<String>) -> Result<Option<String>, Problem> {
    let note = note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
    match note {
        Some(note) if note.len() > PARAMETER || note.contains('\0') => {
            Err(Problem::bad(format!("note has {} bytes", note.len()))
                .cure(format!("at most {PARAMETER}, and no NUL")))
        }
        note => Ok(note),
    }
}
