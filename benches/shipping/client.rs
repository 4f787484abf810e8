//! A client of `shipments api`, on one connection.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use crate::Result;

/// Where shipments come from and go to.
pub(crate) fn address() -> Value {
    json!({"name": "Ada", "street1": "Main St 1", "city": "Springfield", "zip": "12345", "country": "US"})
}

pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) async fn connect(api: &str) -> Result<Self> {
        let stream = TcpStream::connect(api).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// An order of a million apples, with or without somebody to be told about it by mail.
    pub(crate) async fn place_order(&mut self, id: &str, mail: bool) -> Result<()> {
        let parties = if mail { json!([{"role": "customer", "mail": "ada@example.com"}]) } else { json!([]) };
        let order = json!({
            "currency": "EUR", "ship_to": address(), "parties": parties,
            "lines": [{"sku": "apple", "ordered": 1_000_000, "unit_price_minor": 150}],
        });
        self.ask(&format!("PUT /orders/{id}"), "", &order).await?;
        Ok(())
    }

    /// A shipment of one apple; returns the answer.
    pub(crate) async fn ship(&mut self, order: &str) -> Result<Value> {
        let body = json!({
            "order_id": order, "ship_from": address(),
            "cases": [{"weight_grams": 500, "length_mm": 300, "width_mm": 200, "height_mm": 100,
                       "lines": [{"line": 1, "quantity": 1}]}],
        });
        self.ask("POST /shipments", &format!("idempotency-key: {}\r\n", Uuid::new_v4()), &body).await
    }

    /// A request that must succeed.
    async fn ask(&mut self, line: &str, header: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer secret\r\ncontent-type: application/json\r\n{header}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).await?;
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let count = self.0.read(&mut buffer).await?;
            bytes.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                if length.is_some_and(|length| body.len() >= length) {
                    if head.starts_with("HTTP/1.1 20") {
                        return Ok(serde_json::from_str(body)?);
                    }
                    return Err(text.into());
                }
            }
            if count == 0 {
                return Err("the API hung up".into());
            }
        }
    }
}
