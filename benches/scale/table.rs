//! Outbox tables of any size.

use tokio_postgres::Client;

use crate::servers::{Bench, Result};

/// The table that rates are compared with: empty but for what is drained.
pub(crate) const SMALL: &str = "relay";
/// The table with something in it.
pub(crate) const LARGE: &str = "relay_large";

/// Rows inserted by one statement.
const CHUNK: usize = 500_000;

/// New rows: 512 bytes of payload each. The key, and what is added to the columns, may use `g`, their number from 1.
pub(crate) struct Rows<'a> {
    pub(crate) count: usize,
    pub(crate) key: &'a str,
    /// Further columns, and their values.
    pub(crate) with: &'a [(&'a str, &'a str)],
}

impl Rows<'_> {
    /// Ready ones, spread over so many keys.
    pub(crate) async fn ready(bench: &Bench, schema: &str, count: usize, keys: usize) -> Result<()> {
        Rows { count, key: &format!("(g % {keys})::text"), with: &[] }.insert(bench, schema).await
    }

    /// Inserts them, by two sessions that notify nobody.
    pub(crate) async fn insert(&self, bench: &Bench, schema: &str) -> Result<()> {
        let column = |(name, _): &(&str, &str)| format!(", {name}");
        let value = |(_, value): &(&str, &str)| format!(", {value}");
        let insert = format!(
            "insert into {schema}.outbox (aggregate_type, aggregate_id, event_type, payload{columns})
             select 'order', {key}, 'created', jsonb_build_object('id', g, 'pad', repeat(md5(g::text), 15)){values}
             from generate_series($1::bigint, $2) g",
            key = self.key,
            columns = self.with.iter().map(column).collect::<String>(),
            values = self.with.iter().map(value).collect::<String>(),
        );
        let chunks = |first: usize| {
            let insert = &insert;
            async move {
                let client = bench.database().await?;
                client
                    .batch_execute("set session_replication_role = replica; set synchronous_commit = off")
                    .await?;
                for from in (1..=self.count).skip(first * CHUNK).step_by(2 * CHUNK) {
                    let to = self.count.min(from + CHUNK - 1);
                    client.execute(insert, &[&(from as i64), &(to as i64)]).await?;
                }
                Result::Ok(())
            }
        };
        tokio::try_join!(chunks(0), chunks(1))?;
        Ok(())
    }
}

/// Empties an outbox.
pub(crate) async fn clear(client: &Client, schema: &str) -> Result<()> {
    let clear = format!("truncate {schema}.outbox restart identity; truncate {schema}.held_keys");
    Ok(client.batch_execute(&clear).await?)
}

/// As autovacuum would have it, with nothing left to write.
pub(crate) async fn settle(client: &Client, schema: &str) -> Result<()> {
    // Each alone: none runs inside a transaction, which several statements sent together are.
    client.batch_execute(&format!("vacuum (analyze) {schema}.outbox")).await?;
    client.batch_execute(&format!("vacuum (analyze) {schema}.held_keys")).await?;
    client.batch_execute("checkpoint").await?;
    Ok(())
}

/// Makes the large table anew, empty.
pub(crate) async fn new_large(bench: &Bench) -> Result<()> {
    bench.migrate(LARGE).await
}

/// Removes it: the next part needs the disk.
pub(crate) async fn drop_large(client: &Client) -> Result<()> {
    client.batch_execute(&format!("drop schema if exists {LARGE} cascade")).await?;
    client.batch_execute("checkpoint").await?;
    Ok(())
}

/// Somebody's transaction, idle, with a transaction id and a snapshot; over when it is dropped.
pub(crate) struct Idle {
    _client: Client,
}

impl Idle {
    pub(crate) async fn open(bench: &Bench) -> Result<Self> {
        let client = bench.database().await?;
        client
            .batch_execute(
                "begin isolation level repeatable read; select pg_current_xact_id(); select from pg_class",
            )
            .await?;
        Ok(Self { _client: client })
    }
}
