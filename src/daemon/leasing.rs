//! The task that holds the leases on lanes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    OutboxSettings, Shared,
    ability::{Ability, Duty},
    broker::ACCEPTANCE,
    scanning::pause,
};
use crate::{
    health::Part,
    outbox::{
        lanes::{Holding, Lanes},
        pauses::{Pause, PauseTable},
    },
    pause::{Pauses, Scope, Target},
    postgres::{
        client::Client,
        connect::{Connection, DatabaseError, connect, in_time},
        migrate::RELAY,
        sql::channel,
    },
    reconnect::Reconnect,
    relay::{
        floors::Floors,
        input::{Fence, Input},
    },
    row::{Lane, Token},
};

const USE: &str = "leasing";
/// Under which `/readyz` says that migrations are pending.
const SCHEMA: &str = "schema";
/// Between two looks for the migrations that are pending.
const PENDING: Duration = Duration::from_secs(1);
/// Between two looks at the leases while others hold lanes that are to be ours. They notify when they let go of one; this is
/// for where notifications don't arrive.
const WANTING: Duration = Duration::from_millis(500);
/// After the moment in which another relay's lease runs out, unless it is renewed.
const AFTER_EXPIRY: Duration = Duration::from_millis(20);

pub(super) async fn run(
    shared: Shared,
    mut nudges: watch::Receiver<()>,
    (mut given, floors): (mpsc::UnboundedReceiver<Fence>, watch::Receiver<Floors>),
    mut stop: watch::Receiver<u8>,
    mut leave: mpsc::Receiver<oneshot::Sender<bool>>,
) {
    let settings = &shared.settings;
    let channel = channel(&settings.database.schema);
    let mut leasing = Leasing {
        pauses: PauseTable::new(&settings.database.schema),
        lanes: Lanes::new(&settings.database.schema, channel, shared.relay, settings.lease),
        name: format!("{}/{}", host(), std::process::id()),
        shared: shared.clone(),
        connection: None,
        given: Fence::default(),
        floors,
        held: Fence::default(),
    };
    let mut reconnect = Reconnect::default();
    let mut ability = shared.ability.subscribe();
    // What the log says of it: nothing before the first look that found this relay able.
    let mut was_able = false;
    loop {
        let asked = Instant::now();
        let leaving = *stop.borrow_and_update() > 0;
        let lacking = ability.borrow_and_update().lacking(asked, settings.lease);
        let able = lacking.is_empty();
        shared.metrics.able.set(i64::from(able));
        if able != std::mem::replace(&mut was_able, able) {
            tell(&lacking, settings.lease);
        }
        let held = tokio::select! {
            held = leasing.hold(leaving, &lacking) => held,
            Some(done) = leave.recv() => {
                // What was asked on this connection may still be answered there; the farewell goes over another.
                leasing.connection = None;
                leasing.leave(done).await;
                return std::future::pending().await;
            }
        };
        let wait = match held {
            Ok(wait) => {
                reconnect.succeeded();
                shared.health.up(Part::Database, USE);
                shared.health.up(Part::Database, "connection");
                wait
            }
            Err(error) => {
                leasing.connection = None;
                // It may be away from all relays.
                shared.ability.send_modify(|ability| ability.excuse(Instant::now()));
                shared.health.down(Part::Database, USE, &error.with_cure());
                pause(&mut reconnect, &error).min((settings.lease / 3).max(Duration::from_millis(100)))
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait.saturating_sub(asked.elapsed())) => {}
            Ok(()) = nudges.changed() => {}
            Ok(()) = stop.changed() => {}
            // Lanes may be waiting for a relay that can work.
            () = recovered(&mut ability, settings.lease), if !able => {}
            Some(lanes) = given.recv() => leasing.let_go(lanes),
            Some(done) = leave.recv() => {
                leasing.leave(done).await;
                // Stay, for the task's end would be taken for a failure; but hold nothing any more.
                std::future::pending::<()>().await;
            }
        }
        while let Ok(lanes) = given.try_recv() {
            leasing.let_go(lanes);
        }
    }
}

struct Leasing {
    shared: Shared,
    pauses: PauseTable,
    lanes: Lanes,
    name: String,
    connection: Option<Connection>,
    /// Lanes the engine has let go of, and the database may not know yet.
    given: Fence,
    /// How far the engine has done its lanes.
    floors: watch::Receiver<Floors>,
    /// What was ours when the database was asked last.
    held: Fence,
}

impl Leasing {
    /// The engine has let go of these: the database is to know.
    fn let_go(&mut self, lanes: Fence) {
        self.given = std::mem::take(&mut self.given).into_iter().chain(lanes).collect();
    }

    /// Renews, gives and takes lanes, and tells the engine. Returns after how long to do so again.
    async fn hold(&mut self, leaving: bool, lacking: &[Duty]) -> Result<Duration, DatabaseError> {
        let settings = Arc::clone(&self.shared.settings);
        let client = match &self.connection {
            Some(connection) => &connection.client,
            None => &self.connection.insert(connected(&settings).await?).client,
        };
        if !*self.shared.migrated.borrow() && !is_migrated(&self.shared, client).await? {
            return Ok(PENDING);
        }
        // From before the question: the database counts from when it answers, which is later. A tenth is kept back for what
        // was handed to a publisher just before.
        let asked = Instant::now();
        let look = async {
            // First, so that no lane is taken by a relay that does not know what is paused.
            let pauses = self.pauses.list(client).await?;
            let able = lacking.is_empty();
            let floors = self.floors.borrow().clone();
            let holding = self.lanes.hold(client, &self.name, &self.given, &floors, leaving, able).await?;
            Ok::<_, DatabaseError>((pauses, holding))
        };
        let (pauses, mut holding) = in_time(settings.lease, || settings.database.server(), look).await?;
        self.pause(&pauses);
        let given = std::mem::take(&mut self.given);
        let before = std::mem::replace(&mut self.held, holding.fence.clone());
        self.shared.metrics.lanes_lost.inc_by(lost(before, &given, &holding.fence));
        self.shared.clock.set(holding.now.0);
        #[expect(clippy::cast_precision_loss, reason = "a difference of clocks is far below 2^52 us")]
        self.shared.metrics.clock_skew.set(self.shared.clock.ahead_us() as f64 / 1e6);
        let mut wait = wait(settings.lease, &holding);
        if holding.fence.lanes.is_empty() && lacking.is_empty() {
            // Whether the exchange takes anything is another relay's to find out.
            self.shared.health.up(Part::Broker, ACCEPTANCE);
        }
        if lacking.contains(&Duty::Writing) && !holding.give.is_empty() {
            self.desert(&mut holding);
            wait = Duration::ZERO;
        }
        let Holding { fence, give, floors, .. } = holding;
        let until = asked + settings.lease - settings.lease / 10;
        self.shared.tell(Input::Leased { fence, give, floors, until });
        Ok(wait)
    }

    /// Gives lanes away with rows in memory that can't be marked, and so would keep them here for ever. It is as if their leases
    /// had run out: what was published of them may be published again.
    fn desert(&mut self, holding: &mut Holding) {
        let give = std::mem::take(&mut holding.give);
        let (go, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut holding.fence).into_iter().partition(|(lane, _)| give.contains(lane));
        holding.fence = stay.into_iter().collect();
        // The database is told at the next look: the engine first.
        self.let_go(go.into_iter().collect());
    }

    /// Tells everybody what is paused.
    fn pause(&self, standing: &[Pause]) {
        let pauses: Pauses = standing.iter().map(|pause| (pause.id, pause.target.clone())).collect();
        for scope in Scope::ALL {
            let count = i64::try_from(pauses.count(*scope)).unwrap_or(i64::MAX);
            self.shared.metrics.paused.with_label_values(&[scope.as_str()]).set(count);
        }
        let all = pauses.all();
        let before = self.shared.pauses.send_replace(pauses);
        if before.all() == all {
            return;
        }
        match standing.iter().find(|pause| pause.target == Target::All) {
            Some(Pause { actor, note, .. }) => {
                let note = note.as_deref().unwrap_or("no reason given");
                tracing::warn!(
                    actor,
                    note,
                    "publishing is paused by {actor}: {note}; `relay resume --all` ends it"
                );
            }
            None => tracing::info!("publishing is not paused any more"),
        }
        self.shared.tell(Input::Paused(all));
    }

    /// Gives the lanes back and takes leave, and says whether that worked.
    async fn leave(&mut self, done: oneshot::Sender<bool>) {
        let left = async {
            if !*self.shared.migrated.borrow() {
                // It never had any.
                return Ok(());
            }
            let client = match &self.connection {
                Some(connection) => &connection.client,
                None => {
                    let connected = connect(&self.shared.settings.database, "relay lease").await?;
                    &self.connection.insert(connected).client
                }
            };
            self.lanes.leave(client).await
        };
        let result = left.await;
        if let Err(error) = &result {
            tracing::warn!("giving the lanes back failed: {error}");
        }
        let _ = done.send(result.is_ok());
    }
}

/// Says once what keeps this relay from its share of the lanes, and when it has it again.
fn tell(lacking: &[Duty], lease: Duration) {
    if lacking.is_empty() {
        tracing::info!("this relay can work, and takes its share of the lanes");
        return;
    }
    let what = lacking.iter().map(Duty::to_string).collect::<Vec<_>>().join(", ");
    tracing::info!(
        what,
        "for {lease:?} this relay could not work ({what}): until it can, its lanes are for relays that can, if there are any"
    );
}

/// Waits until this relay can work again.
async fn recovered(ability: &mut watch::Receiver<Ability>, lease: Duration) {
    // Its sender is our own, so it is there.
    let _ = ability.wait_for(|ability| ability.lacking(Instant::now(), lease).is_empty()).await;
}

/// Connects. Locks are waited for no longer than the answer is: else the statements of one connection after the other would
/// wait, and nobody be told for what.
async fn connected(settings: &OutboxSettings) -> Result<Connection, DatabaseError> {
    let connection = connect(&settings.database, "relay lease").await?;
    let limit = [format!("lock_timeout = {}", (settings.lease / 2).as_millis())];
    let limited = async { Ok(connection.client.configure(&limit).await?) };
    in_time(settings.lease, || settings.database.server(), limited).await?;
    Ok(connection)
}

/// Whether the schema has what this version needs. Until it has, an older relay goes on with the lanes: this one takes none,
/// and says what is missing.
async fn is_migrated(shared: &Shared, client: &Client) -> Result<bool, DatabaseError> {
    let database = &shared.settings.database;
    let schema = &database.schema;
    let pending = in_time(shared.settings.lease, || database.server(), RELAY.pending(client, schema)).await?;
    if pending.is_empty() {
        shared.health.up(Part::Database, SCHEMA);
        shared.migrated.send_replace(true);
        return Ok(true);
    }
    let names: Vec<&str> = pending.iter().map(|migration| migration.name).collect();
    let cause = format!(
        "schema {schema} lacks migrations that this version needs: {}; run `relay migrate`; this relay takes no lanes \
         until then, and needs no restart",
        names.join(", ")
    );
    shared.health.down(Part::Database, SCHEMA, &cause);
    Ok(false)
}

/// How many lanes ran out: neither given back nor still held under the same token. One that was taken anew ran out before.
fn lost(before: Fence, given: &Fence, now: &Fence) -> u64 {
    let has = |fence: &Fence, lane: &(Lane, Token)| {
        fence.lanes.iter().copied().zip(fence.tokens.iter().copied()).any(|held| held == *lane)
    };
    before.into_iter().filter(|lane| !has(given, lane) && !has(now, lane)).map(|_| 1).sum()
}

/// Until the leases are looked at again: soon enough to keep ours, and to take what others should let go of, or have let run
/// out.
fn wait(lease: Duration, holding: &Holding) -> Duration {
    let third = lease / 3;
    let wanting = if holding.wants { WANTING } else { third };
    let expiry = holding.first_expiry.map_or(third, |left| left + AFTER_EXPIRY);
    third.min(wanting).min(expiry)
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "relay".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_lost_when_its_lease_ran_out_and_not_when_it_was_kept_or_given_back() {
        let fence = |lanes: &[(Lane, Token)]| lanes.iter().copied().collect::<Fence>();
        let before = fence(&[(1, 10), (2, 10), (3, 10), (4, 10)]);
        let given = fence(&[(2, 10)]);
        // 1 is kept, 2 was given back, 3 is another's now, 4 ran out and was taken anew, 5 is new.
        let now = fence(&[(1, 10), (4, 11), (5, 3)]);
        assert_eq!(lost(before, &given, &now), 2);
        assert_eq!(lost(Fence::default(), &given, &now), 0);
    }
}
