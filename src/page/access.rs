//! Who may look, and who may do something: by the address that is listened on, by tokens, and by where a request comes from.
//! Decides only.
//!
//! There are no cookies, so no other site can have a browser send what is asked for here; all the same an act has to be JSON
//! and to come from the page itself. A name that somebody else's name server leads to loopback is no way in either.

use core::net::IpAddr; // an address, and no socket

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The longest name of a person, in bytes.
const LONGEST_NAME: usize = 100;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum May {
    /// Know that there is a page.
    Nothing,
    /// Look.
    Read,
    /// Look, and do what operators do.
    Operate,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// An address that others reach, and no token.
    #[error(
        "the operators' page is closed: it is served at an address that is not loopback, and page.read_token is not set"
    )]
    Closed,
    /// A name that leads to loopback, and is not its own.
    #[error("this is not asked for by a name of loopback, and page.read_token is not set")]
    ForeignName,
    /// A token is needed.
    #[error("this takes a token: page.read_token, or page.operator_token")]
    NoToken,
    /// Nobody knows it.
    #[error("this token is neither page.read_token nor page.operator_token")]
    UnknownToken,
    /// Nobody may change anything.
    #[error("the page only shows: page.operator_token is not set")]
    ReadOnly,
    /// The token of readers, or none.
    #[error("this takes page.operator_token: what you sent, if anything, is for looking alone")]
    NotOperator,
    /// Another site sent it.
    #[error("this was sent by another site")]
    OtherSite,
    /// A form could have sent it.
    #[error("this is not sent as JSON")]
    NotJson,
    /// Nobody to write down.
    #[error("nobody is named who does this")]
    Nobody,
}

impl Refusal {
    /// What to do about it.
    pub(super) fn cure(self) -> &'static str {
        match self {
            Self::Closed => {
                "set page.read_token (RELAY_PAGE_READ_TOKEN, or RELAY_PAGE_READ_TOKEN_FILE), or listen on loopback and \
                 come by ssh -L or kubectl port-forward"
            }
            Self::ForeignName => "ask for 127.0.0.1 or localhost, or set page.read_token",
            Self::NoToken | Self::NotOperator => "send it as Authorization: Bearer",
            Self::UnknownToken => "ask whoever runs relay for it; `relay config show` says where it is set",
            Self::ReadOnly => {
                "set page.operator_token (RELAY_PAGE_OPERATOR_TOKEN, or RELAY_PAGE_OPERATOR_TOKEN_FILE) and start relay \
                 again, or use the command line"
            }
            Self::OtherSite => "use the page itself; a proxy in between has to pass Host on as it is",
            Self::NotJson => "send Content-Type: application/json",
            Self::Nobody => "send X-Relay-Actor: a name of 1 to 100 bytes, percent-encoded",
        }
    }
}

/// A token, as far as it has to be known: its hash, so that comparing tells nothing, not even a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known([u8; 32]);

impl Known {
    fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    fn is(self, other: Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The headers of an act that say where it comes from, and from whom.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent<'a> {
    /// `Host`.
    pub(super) host: Option<&'a str>,
    /// `Origin`.
    pub(super) origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub(super) fetch_site: Option<&'a str>,
    /// `Content-Type`.
    pub(super) content_type: Option<&'a str>,
    /// `X-Relay-Actor`.
    pub(super) actor: Option<&'a str>,
}

/// The rules, for one listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    loopback: bool,
    read: Option<Known>,
    operate: Option<Known>,
}

impl Access {
    /// Of a listener at this address, with these tokens.
    pub(super) fn new(address: IpAddr, read: Option<&str>, operate: Option<&str>) -> Self {
        let known = |token: &str| Known::of(token.as_bytes());
        Self {
            loopback: address.to_canonical().is_loopback(),
            read: read.map(known),
            operate: operate.map(known),
        }
    }

    /// Whether anything is served at all.
    pub(super) fn is_closed(&self) -> bool {
        !self.loopback && self.read.is_none()
    }

    /// Whether somebody may do something, given the right token.
    pub(super) fn has_operators(&self) -> bool {
        self.operate.is_some()
    }

    /// Whether anything of the page is served to a request for this host.
    pub(super) fn serves(&self, host: Option<&str>) -> Result<(), Refusal> {
        if self.is_closed() {
            return Err(Refusal::Closed);
        }
        // With a token the name does not matter: another site does not have it.
        if self.read.is_none() && !host.is_some_and(names_loopback) {
            return Err(Refusal::ForeignName);
        }
        Ok(())
    }

    /// What an `Authorization` header lets one do, or its absence.
    pub(super) fn may(&self, authorization: Option<&[u8]>) -> Result<May, Refusal> {
        let Some(authorization) = authorization else {
            return Ok(if self.read.is_none() { May::Read } else { May::Nothing });
        };
        let sent = bearer(authorization).map(Known::of).ok_or(Refusal::UnknownToken)?;
        let is = |known: Option<Known>| known.is_some_and(|known| known.is(sent));
        // Both are compared, whatever the first one says.
        match (is(self.operate), is(self.read)) {
            (true, _) => Ok(May::Operate),
            (false, true) => Ok(May::Read),
            (false, false) => Err(Refusal::UnknownToken),
        }
    }

    /// Whether somebody who may so much may look.
    pub(super) fn look(&self, may: May) -> Result<(), Refusal> {
        if may >= May::Read { Ok(()) } else { Err(Refusal::NoToken) }
    }

    /// Whether somebody who may so much may do this; returns who it is, for the audit.
    pub(super) fn act(&self, may: May, sent: Sent<'_>) -> Result<String, Refusal> {
        if self.operate.is_none() {
            return Err(Refusal::ReadOnly);
        }
        if may < May::Operate {
            return Err(Refusal::NotOperator);
        }
        if !same_site(sent) {
            return Err(Refusal::OtherSite);
        }
        let media_type = sent.content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case("application/json") {
            return Err(Refusal::NotJson);
        }
        let name = sent.actor.and_then(unescaped).unwrap_or_default();
        let name = name.trim();
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(Refusal::Nobody);
        }
        Ok(format!("page:{name}"))
    }
}

/// The token of an `Authorization` header.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether a `Host` is this machine by its own name, rather than by one that somebody leads here.
fn names_loopback(host: &str) -> bool {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) if port.is_empty() || port.strip_prefix(':').is_some_and(is_port) => name,
        Some(_) => return false,
        None => host.split_once(':').map_or(host, |(name, port)| if is_port(port) { name } else { "" }),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether the page itself sent it, as far as a browser tells; what is no browser tells nothing.
fn same_site(sent: Sent<'_>) -> bool {
    match (sent.fetch_site, sent.origin) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some() && authority == sent.host
        }
        (None, None) => true,
    }
}

/// Text that was percent-encoded, so that a header can carry any name.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = behind.get(2..)?;
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "read-0123456789abcdef";
    const OPERATE: &str = "operate-0123456789abcdef";

    fn access(address: &str, read: bool, operate: bool) -> Access {
        let address = address.parse().expect("an address");
        Access::new(address, read.then_some(READ), operate.then_some(OPERATE))
    }

    fn token(token: &str) -> Vec<u8> {
        format!("Bearer {token}").into_bytes()
    }

    fn sent() -> Sent<'static> {
        Sent { content_type: Some("application/json"), actor: Some("Ann"), ..Sent::default() }
    }

    #[test]
    fn off_loopback_nothing_is_served_without_a_token_for_readers() {
        for address in ["0.0.0.0", "10.0.0.1", "::", "2001:db8::1"] {
            for operate in [false, true] {
                assert_eq!(access(address, false, operate).serves(Some("127.0.0.1")), Err(Refusal::Closed));
                assert_eq!(access(address, true, operate).serves(Some("relay.example")), Ok(()));
            }
        }
        for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(access(address, false, false).serves(Some("localhost")), Ok(()), "{address}");
        }
    }

    #[test]
    fn on_loopback_without_a_token_only_names_of_loopback_are_served() {
        let open = access("127.0.0.1", false, true);
        for host in ["localhost", "LOCALHOST:9630", "127.0.0.1", "127.0.0.1:9630", "[::1]:9630", "[::1]"] {
            assert_eq!(open.serves(Some(host)), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "10.0.0.1:9630",
            "[::1]x",
            "[::1]evil:80",
            "localhost:evil",
            "",
            ":80",
            "127.0.0.1:80:80",
        ] {
            assert_eq!(open.serves(Some(host)), Err(Refusal::ForeignName), "{host}");
        }
        assert_eq!(open.serves(None), Err(Refusal::ForeignName));
        assert_eq!(access("127.0.0.1", true, false).serves(Some("evil.example")), Ok(()));
    }

    #[test]
    fn looking_takes_a_token_if_there_is_one_and_the_operators_will_do() {
        let open = access("127.0.0.1", false, true);
        assert_eq!(open.may(None), Ok(May::Read));
        assert_eq!(open.may(Some(&token(OPERATE))), Ok(May::Operate));
        assert_eq!(open.may(Some(&token(READ))), Err(Refusal::UnknownToken), "there is none");
        let guarded = access("0.0.0.0", true, true);
        assert_eq!(guarded.may(None), Ok(May::Nothing));
        assert_eq!(guarded.look(May::Nothing), Err(Refusal::NoToken));
        assert_eq!(guarded.may(Some(&token(READ))), Ok(May::Read));
        assert_eq!(guarded.may(Some(&token(OPERATE))), Ok(May::Operate));
        assert_eq!(guarded.look(May::Read), Ok(()));
        for wrong in
            ["", "Bearer", "Bearer ", "Basic read-0123456789abcdef", READ, "Bearer read-0123456789abcde"]
        {
            assert_eq!(guarded.may(Some(wrong.as_bytes())), Err(Refusal::UnknownToken), "{wrong}");
        }
    }

    #[test]
    fn an_act_takes_the_operators_token_json_the_page_itself_and_a_name() {
        let rules = access("127.0.0.1", true, true);
        let act = |may, sent| rules.act(may, sent);
        assert_eq!(act(May::Operate, sent()), Ok("page:Ann".to_owned()));
        assert_eq!(act(May::Read, sent()), Err(Refusal::NotOperator));
        assert_eq!(act(May::Nothing, sent()), Err(Refusal::NotOperator));
        assert_eq!(access("127.0.0.1", true, false).act(May::Read, sent()), Err(Refusal::ReadOnly));
        for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
            assert_eq!(act(May::Operate, Sent { content_type, ..sent() }), Err(Refusal::NotJson));
        }
        let json = Some("application/JSON; charset=utf-8");
        assert!(act(May::Operate, Sent { content_type: json, ..sent() }).is_ok());
        let from = |fetch_site, origin, host| Sent { fetch_site, origin, host, ..sent() };
        let host = Some("relay.example:9630");
        for (site, origin, expected) in [
            (None, None, true),
            (Some("same-origin"), Some("https://relay.example"), true),
            (Some("same-site"), None, false),
            (Some("cross-site"), Some("http://relay.example:9630"), false),
            (Some("none"), None, false),
            (None, Some("http://relay.example:9630"), true),
            (None, Some("http://relay.example"), false),
            (None, Some("http://evil.example"), false),
            (None, Some("null"), false),
        ] {
            let acted = act(May::Operate, from(site, origin, host));
            assert_eq!(acted.is_ok(), expected, "{site:?} {origin:?} {acted:?}");
        }
        assert_eq!(act(May::Operate, from(None, Some("null"), None)), Err(Refusal::OtherSite));
    }

    #[test]
    fn whoever_acts_has_a_name_that_can_be_written_down() {
        let rules = access("127.0.0.1", false, true);
        let name = |actor| rules.act(May::Operate, Sent { actor, ..sent() });
        assert_eq!(name(Some("J%C3%B6rg%20+%25")), Ok("page:Jörg +%".to_owned()));
        let long = "x".repeat(101);
        for wrong in [
            None,
            Some(""),
            Some("  "),
            Some("%20"),
            Some("a%0Ab"),
            Some("%"),
            Some("%4"),
            Some("%zz"),
            Some("%+1"),
            Some("%FF"),
            Some(long.as_str()),
        ] {
            assert_eq!(name(wrong), Err(Refusal::Nobody), "{wrong:?}");
        }
    }
}
