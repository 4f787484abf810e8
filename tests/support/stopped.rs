//! Backends of Postgres that stand still, as on a disk that hangs: their host answers for them, so TCP notices nothing.
//! Each is stopped while it is idle, for one that holds a latch stops the whole server: a test that does this has its own.

use std::process::Command;

use super::{database::Database, wait};

/// A backend that was sent SIGSTOP, until this is dropped.
pub struct Stopped {
    pub pid: i32,
}

impl Stopped {
    /// All idle backends of sessions of this name; waits for the first.
    pub async fn backends(database: &Database, name: &str) -> Vec<Self> {
        let sql = "select pid from pg_stat_activity
                   where datname = current_database() and application_name = $1 and state = 'idle'";
        let rows = wait::found("its session is idle", wait::LONG, async || {
            Some(database.query(sql, &[&name]).await).filter(|rows| !rows.is_empty())
        })
        .await;
        let stop = |pid| {
            let stopped = Self { pid };
            assert!(stopped.signal("STOP"), "it can be stopped");
            stopped
        };
        rows.iter().map(|row| stop(row.get(0))).collect()
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) -> bool {
        let kill = Command::new("bash")
            .args(["-c", "kill -s \"$1\" \"$2\"", "-", name, &self.pid.to_string()])
            .status();
        kill.is_ok_and(|status| status.success())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.resume();
    }
}
