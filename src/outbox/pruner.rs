//! Removing rows that nobody needs any more: a walk over the table in seq order, in statements so short that nobody
//! notices them.
//!
//! A walk looks at some rows, which locks nothing, and removes those of them that are finished and old. It ends where all
//! rows are young: rows are published about in the order in which they were made.

use std::time::Duration;

use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::{
    postgres::{connect::DatabaseError, sql::in_schema, transaction::Asked, value::Micros},
    row::{Finished, Seq},
};

/// Rows looked at, and removed, by one statement, unless somebody says otherwise. Measured: looking at 1,000 rows takes
/// 1.5 ms, removing them 5 ms, and larger batches are no cheaper.
pub const BATCH: u64 = 1000;
/// Rows of the first statement, before it is known what they cost.
const FIRST: u64 = 100;
/// How long a statement should take at most. Rows with large payloads, or a slow disk, make batches smaller.
const TARGET: Duration = Duration::from_millis(50);
/// How long it takes when even [`FIRST`] rows are too many.
const SLOW: Duration = Duration::from_secs(1);

/// What is old enough, by the database's clock: times in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    /// Rows published, or dead and discarded, before this time.
    pub finished_us: i64,
    /// Rows that died before this time, whether anybody has dealt with them or not, if such are to go at all. Never one
    /// that its key waits behind.
    pub dead_us: Option<i64>,
}

/// So many rows of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally([u64; Finished::ALL.len()]);

impl Tally {
    /// How many of a kind.
    #[must_use]
    pub fn of(&self, kind: Finished) -> u64 {
        self.0[kind as usize]
    }

    /// How many of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Counts more of a kind.
    pub fn add(&mut self, kind: Finished, rows: u64) {
        self.0[kind as usize] += rows;
    }

    /// Counts what another one has counted.
    pub fn add_all(&mut self, other: &Self) {
        for kind in Finished::ALL {
            self.add(*kind, other.of(*kind));
        }
    }
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The last seq looked at; none where the table ends.
    pub upto: Option<Seq>,
    /// The rows that may go, in seq order.
    pub prunable: Vec<(Seq, Finished)>,
    /// Whether there may be more behind these.
    pub goes_on: bool,
}

/// Whose turn it is to remove old rows by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Another relay's, or nobody's.
    Others,
    /// This relay's.
    Ours {
        /// The database's clock, in microseconds since the Unix epoch.
        now: i64,
        /// Whether its role may.
        allowed: bool,
    },
}

/// The statements of a walk, in a schema. They are sent as they are, not prepared: planning them takes a tenth of the time
/// of a batch, and a connection through a pooler keeps nothing.
#[derive(Debug, Clone)]
pub struct Pruner {
    look: String,
    prune: String,
    turn: String,
}

impl Pruner {
    /// Those of a schema.
    #[must_use]
    pub fn new(schema: &str) -> Self {
        Self {
            look: in_schema(include_str!("../../sql/queries/outbox/prunable.sql"), schema),
            prune: in_schema(include_str!("../../sql/queries/outbox/prune.sql"), schema),
            turn: in_schema(include_str!("../../sql/queries/outbox/may_prune.sql"), schema),
        }
    }

    /// Whose turn it is, for a relay that removes rows by itself: one at a time does.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn turn(&self, client: &impl Asked, relay: Uuid) -> Result<Turn, DatabaseError> {
        let row = client.query_typed_one(&self.turn, &[(&relay, Type::UUID)]).await?;
        Ok(match row.try_get(0)? {
            true => Turn::Ours { allowed: row.try_get(1)?, now: row.try_get::<_, Micros>(2)?.0 },
            false => Turn::Others,
        })
    }

    /// Looks at up to `rows` rows after a seq.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn look(
        &self,
        client: &impl Asked,
        after: Seq,
        rows: u64,
        cutoffs: Cutoffs,
    ) -> Result<Look, DatabaseError> {
        let most = i64::try_from(rows).unwrap_or(i64::MAX);
        let row = client
            .query_typed_one(
                &self.look,
                &[
                    (&after, Type::INT8),
                    (&most, Type::INT8),
                    (&cutoffs.finished_us, Type::INT8),
                    (&cutoffs.dead_us, Type::INT8),
                ],
            )
            .await?;
        let (seqs, kinds): (Vec<Seq>, Vec<&str>) = (row.try_get(3)?, row.try_get(4)?);
        let known = |kind: &str| kind.parse().map_err(|error| DatabaseError::Schema(format!("{error}")));
        let kinds: Vec<Finished> = kinds.into_iter().map(known).collect::<Result<_, _>>()?;
        let prunable: Vec<(Seq, Finished)> = seqs.into_iter().zip(kinds).collect();
        let (looked, old): (i64, bool) = (row.try_get(1)?, row.try_get(2)?);
        // Times of rows are the producers' word, so what can go counts as old, whatever they say.
        let goes_on = looked >= most && (old || !prunable.is_empty());
        Ok(Look { upto: row.try_get(0)?, prunable, goes_on })
    }

    /// Removes rows found by a look, but for those that somebody has locked or changed since.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn prune(
        &self,
        client: &impl Asked,
        rows: &[(Seq, Finished)],
        cutoffs: Cutoffs,
    ) -> Result<Tally, DatabaseError> {
        let seqs: Vec<Seq> = rows.iter().map(|(seq, _)| *seq).collect();
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&seqs, Type::INT8_ARRAY), (&cutoffs.dead_us, Type::INT8)];
        let row = client.query_typed_one(&self.prune, &parameters).await?;
        let mut gone = Tally::default();
        for (index, kind) in Finished::ALL.iter().enumerate() {
            gone.add(*kind, u64::try_from(row.try_get::<_, i64>(index)?).unwrap_or(0));
        }
        Ok(gone)
    }
}

/// How many rows a statement takes, from what the last one took.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    rows: u64,
    most: u64,
}

impl Batch {
    /// At most so many, and at least one.
    #[must_use]
    pub fn up_to(most: u64) -> Self {
        let most = most.max(1);
        Self { rows: FIRST.min(most), most }
    }

    /// How many of so many rows the next statement takes.
    #[must_use]
    pub fn size(self, rows: usize) -> usize {
        usize::try_from(self.rows).unwrap_or(usize::MAX).min(rows)
    }

    /// Removing a batch of the present size took so long.
    pub fn took(&mut self, time: Duration) {
        if time > TARGET {
            // A busy server takes its time over a few rows as well: only rows that are heavy are taken one by one.
            let least = if time > SLOW { 1 } else { FIRST.min(self.rows) };
            self.rows = (self.rows / 2).max(least);
        } else if time < TARGET / 3 {
            self.rows = (self.rows * 2).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_to_their_limit_while_they_are_quick_and_shrink_when_they_are_not() {
        let mut batch = Batch::up_to(1000);
        let mut sizes = vec![batch.size(5000)];
        for milliseconds in [5, 5, 5, 5, 5, 20, 60, 900, 900, 900, 900, 1001, 1001, 1001, 900, 5] {
            batch.took(Duration::from_millis(milliseconds));
            sizes.push(batch.size(5000));
        }
        assert_eq!(
            sizes,
            [100, 200, 400, 800, 1000, 1000, 1000, 500, 250, 125, 100, 100, 50, 25, 12, 12, 24]
        );
        assert_eq!(Batch::up_to(0).size(5000), 1);
        assert_eq!(Batch::up_to(10).size(5000), 10);
        assert_eq!(Batch::up_to(1000).size(7), 7);
    }
}
