//! HTTP by hand, over a socket: a test sees every byte, and may stop in the middle.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The code of a problem, which must be one.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        assert_eq!(body["type"], format!("/problems#{}", body["code"].as_str().unwrap()));
        body["code"].as_str().unwrap().to_owned()
    }

    /// Asserts which problem it is.
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code.to_owned()), "{}", self.json());
    }
}

/// A request, as bytes.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: api\r\nconnection: close\r\n");
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    if !headers.iter().any(|(name, _)| *name == "content-length") && (method == "POST" || method == "PUT") {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// Sends bytes and reads the answer to its end.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    // The answer may come before all is sent.
    let _ = stream.write_all(bytes).await;
    read(&mut stream).await
}

/// Reads an answer until the server closes.
pub async fn read(stream: &mut TcpStream) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    let limit = Duration::from_secs(60);
    match tokio::time::timeout(limit, stream.read_to_end(&mut bytes)).await {
        Ok(Ok(_)) => {}
        // Cut off after the answer, as whoever is not read to the end is.
        Ok(Err(_)) if !bytes.is_empty() => {}
        Ok(Err(error)) => return Err(error),
        Err(_) => panic!("no end of an answer within {limit:?}"),
    }
    parse(&bytes).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let body = bytes[end + 4..].to_vec();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map(|(_, length)| length.parse::<usize>());
    // An answer without a body says no length; any other that is cut short is none.
    let whole = status == 304 || status == 204 || length == Some(Ok(body.len()));
    whole.then_some(Answer { status, headers, body })
}
