//! The account of relay: every committed row against every delivery.

use std::{collections::HashSet, fmt};

use tokio_postgres::Client;

use super::{Committed, tap::Tap};
use crate::servers::Result;

/// What became of every row, of both acts.
pub(crate) struct Account {
    committed: Committed,
    /// Rows that shipping committed.
    shipping: u64,
    delivered: u64,
    lost: u64,
    phantoms: u64,
    duplicates: u64,
    inversions: u64,
    dead: u64,
    replayed: u64,
    /// What should not be; empty if all is well.
    pub(crate) wrong: Vec<String>,
}

impl Account {
    /// Draws it, once no relay and no part of shipping is at work any more.
    pub(crate) async fn draw(database: &Client, tap: &Tap, committed: &Committed) -> Result<Self> {
        // The services' aggregates are numbers; shipping's are not.
        let sql = "select event_id::text, published_at is not null, dead_at is not null, replays, aggregate_id ~ '^[0-9]+$'
                   from relay.outbox";
        let rows = database.query(sql, &[]).await?;
        let published: HashSet<String> = rows.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
        tap.finish(&published).await;

        let seen = tap.seen();
        let mut ids = HashSet::new();
        let (mut of_services, mut lost, mut dead, mut replayed) = (0, 0, 0, 0);
        for row in &rows {
            let (id, published, is_dead): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
            let is_delivered = seen.deliveries.contains_key(&id);
            lost += u64::from(!is_delivered && (!is_dead || published));
            dead += u64::from(is_dead);
            replayed += u64::from(row.get::<_, i32>(3) > 0);
            of_services += u64::from(row.get::<_, bool>(4));
            ids.insert(id);
        }
        let mut account = Self {
            committed: *committed,
            shipping: rows.len() as u64 - of_services,
            delivered: seen.deliveries.len() as u64,
            lost,
            phantoms: seen.deliveries.keys().filter(|id| !ids.contains(*id)).count() as u64,
            duplicates: seen.deliveries.values().map(|count| count - 1).sum(),
            inversions: seen.inversions.len() as u64,
            dead,
            replayed,
            wrong: Vec::new(),
        };
        account.judge(of_services);
        account.wrong.extend(seen.inversions.iter().take(3).cloned());
        Ok(account)
    }

    /// Every figure has one value that is right, but for duplicates: processes were killed.
    fn judge(&mut self, of_services: u64) {
        let figures = [
            ("rows of the services in the table", of_services, self.committed.rows),
            ("delivered", self.delivered, self.committed.rows + self.shipping - self.committed.poison),
            ("lost", self.lost, 0),
            ("phantoms", self.phantoms, 0),
            ("per-key inversions", self.inversions, 0),
            ("dead", self.dead, self.committed.poison),
            ("replayed", self.replayed, self.committed.invoices),
        ];
        for (what, is, should) in figures {
            if is != should {
                self.wrong.push(format!("{what}: {is}, and it should be {should}"));
            }
        }
        if self.committed.poison == 0 || self.committed.invoices == 0 || self.shipping == 0 {
            self.wrong.push("too little has happened to show anything".to_owned());
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = format!("{} by the services, {} by shipping", self.committed.rows, self.shipping);
        let lines = [
            ("committed", self.committed.rows + self.shipping, sources.as_str()),
            ("rolled back", self.committed.rolled_back, "never published"),
            ("delivered", self.delivered, ""),
            ("lost", self.lost, "must be 0"),
            ("phantoms", self.phantoms, "must be 0"),
            ("duplicates", self.duplicates, "same message_id, from the kills; consumers dedupe"),
            ("per-key inversions", self.inversions, "must be 0"),
            ("dead", self.dead, "with a reason, in the dead-letter queue"),
            ("replayed", self.replayed, "and delivered"),
        ];
        for (name, count, note) in lines {
            writeln!(f, "{}", format!("  {name:<20} {count:>8}   {note}").trim_end())?;
        }
        Ok(())
    }
}
