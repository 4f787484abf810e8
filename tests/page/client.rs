//! Asking the page over plain HTTP, as no browser would: with any header and any body.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::{
    rig::Rig,
    support::relay::{Relay, RelayProcess},
};

pub const READ: &str = "read-0123456789abcdef";
pub const OPERATE: &str = "operate-0123456789abcdef";

/// Of the one outbox of a relay that was not told of others.
pub const OUTBOX: &str = "/api/outboxes/default";

/// A relay whose page lets operators act.
pub fn operated(rig: &Rig) -> Relay {
    rig.relay().env("RELAY_PAGE_OPERATOR_TOKEN", OPERATE)
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It is refused so, in words that name this, as JSON.
    pub fn refused(&self, status: u16, words: &[&str]) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        let json = self.json();
        let said =
            format!("{} {}", json["error"].as_str().unwrap(), json["cure"].as_str().unwrap_or_default());
        words.iter().for_each(|word| assert!(said.contains(word), "{word:?} is not in {said:?}"));
        json
    }
}

/// Somebody with a token, or none.
#[derive(Debug, Clone)]
pub struct Client {
    pub address: SocketAddr,
    token: Option<String>,
}

impl Client {
    /// Nobody in particular.
    pub fn of(relay: &RelayProcess) -> Self {
        let lines = relay.lines();
        let mut address: SocketAddr = lines
            .iter()
            .find_map(|line| line["address"].as_str()?.parse().ok())
            .expect("it says where it is");
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Self { address, token: None }
    }

    pub fn with(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Sends just this, beside `Host`, the token and the body's length, unless they are given.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let given = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !given("host") {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        if let Some(token) = self.token.as_ref().filter(|_| !given("authorization")) {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some(body) = body.filter(|_| !given("content-length")) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
        // It may be refused before it is read.
        let _ = write!(stream, "{head}\r\n{}", body.unwrap_or_default());
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let text = String::from_utf8(answer).unwrap();
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {read:?} {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        Answer {
            status,
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// What is there; it has to be.
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// As the page sends an act.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Relay-Actor", "Ann"),
            ("Sec-Fetch-Site", "same-origin"),
        ];
        self.send("POST", path, &headers, Some(&body.to_string()))
    }

    /// An act that has to succeed.
    pub fn act(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
        answer.json()
    }
}

/// A row that is dead from the start, as if it had been unroutable: its seq and its event id.
pub async fn insert_dead(rig: &Rig, aggregate_id: &str, event_type: &str, payload: &str) -> (i64, String) {
    let sql = "insert into relay.outbox (aggregate_type, aggregate_id, event_type, payload, dead_at, dead_reason, attempts, last_error)
               values ('order', $1, $2, $3::text::jsonb, now(), 'unroutable', 8, '312 NO_ROUTE') returning seq, event_id::text";
    let rows = rig.database.query(sql, &[&aggregate_id, &event_type, &payload]).await;
    (rows[0].get(0), rows[0].get(1))
}

/// What operators did, the latest first, without when and under which number.
pub fn audit(rig: &Rig) -> Vec<Value> {
    let text = rig.relay().command(&["audit", "list", "-o", "json"]);
    let mut entries: Vec<Value> = serde_json::from_str(&text).unwrap();
    for entry in &mut entries {
        let entry = entry.as_object_mut().unwrap();
        entry.remove("at");
        entry.remove("audit_id");
        if let Some(filter) = entry.get_mut("filter").and_then(Value::as_object_mut) {
            filter.remove("until");
        }
    }
    entries
}
