//! The account: every committed row against every delivery.

use std::{
    collections::HashSet,
    fmt,
    time::{Duration, Instant},
};

use tokio_postgres::Client;

use crate::{consumer::Tap, producer::Committed, servers::Result};

/// Waits until no row is unfinished.
pub(crate) async fn until_settled(database: &Client, limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        let unfinished: i64 = database
            .query_one(
                "select count(*) from relay.outbox where published_at is null and dead_at is null",
                &[],
            )
            .await?
            .get(0);
        if unfinished == 0 {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{unfinished} rows are still unfinished after {limit:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn dead(database: &Client) -> Result<i64> {
    Ok(database.query_one("select count(*) from relay.outbox where dead_at is not null", &[]).await?.get(0))
}

/// The relay that holds the lanes.
pub(crate) async fn owner(database: &Client) -> Result<String> {
    Ok(database.query_one("select coalesce(min(owner::text), '') from relay.lanes", &[]).await?.get(0))
}

/// Waits until another relay holds them.
pub(crate) async fn until_owner_is_not(database: &Client, old: &str, limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    while owner(database).await? == old {
        if Instant::now() > end {
            return Err(format!("nobody has taken the lanes over within {limit:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// What became of everything.
pub(crate) struct Account {
    committed: u64,
    rolled_back: u64,
    in_table: u64,
    delivered: u64,
    lost: u64,
    phantoms: u64,
    duplicates: u64,
    inversions: u64,
    dead: u64,
    replayed: u64,
}

impl Account {
    pub(crate) async fn draw(database: &Client, tap: &Tap, committed: &Committed) -> Result<Self> {
        let rows = database
            .query("select event_id::text, published_at is not null, dead_at is not null, replays from relay.outbox", &[])
            .await?;
        let seen = tap.seen();
        let mut ids = HashSet::new();
        let (mut lost, mut dead, mut replayed) = (0, 0, 0);
        for row in &rows {
            let id: String = row.get(0);
            let delivered = seen.deliveries.contains_key(&id);
            let (published, is_dead): (bool, bool) = (row.get(1), row.get(2));
            lost += u64::from(!delivered && (!is_dead || published));
            dead += u64::from(is_dead);
            replayed += u64::from(row.get::<_, i32>(3) > 0);
            ids.insert(id);
        }
        Ok(Self {
            committed: committed.rows,
            rolled_back: committed.rolled_back,
            in_table: rows.len() as u64,
            delivered: seen.deliveries.len() as u64,
            lost,
            phantoms: seen.deliveries.keys().filter(|id| !ids.contains(*id)).count() as u64,
            duplicates: seen.deliveries.values().map(|count| count - 1).sum(),
            inversions: seen.inversions,
            dead,
            replayed,
        })
    }

    /// Whether everything is accounted for. Duplicates are allowed: two processes were killed.
    pub(crate) fn good(&self) -> bool {
        self.lost == 0
            && self.phantoms == 0
            && self.inversions == 0
            && self.committed == self.in_table
            && self.delivered + self.dead == self.committed
            && self.dead > 0
            && self.replayed > 0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("committed", self.committed, ""),
            ("rolled back", self.rolled_back, "never published"),
            ("delivered", self.delivered, ""),
            ("lost", self.lost, "must be 0"),
            ("phantoms", self.phantoms, "must be 0"),
            ("duplicates", self.duplicates, "same message_id, from the two kills; consumers dedupe"),
            ("per-key inversions", self.inversions, "must be 0"),
            ("dead", self.dead, "with a reason, in the dead-letter queue"),
            ("replayed", self.replayed, "and delivered"),
        ];
        for (name, count, note) in lines {
            writeln!(f, "  {name:<20} {count:>8}   {note}")?;
        }
        Ok(())
    }
}
