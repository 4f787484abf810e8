//! A consumer as a process of its own, that a test may kill: this very test binary, told to be one.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use relay::consumer::ConsumerSettings;

use crate::{
    rig::{Kind, Place, Rig, Running},
    support::wait,
};

const ROLE: &str = "RELAY_DEV_TEST_WORKER";

/// A worker's process; killed when dropped.
pub struct Worker(Child);

impl Worker {
    pub fn start(rig: &Rig, kind: Kind) -> Self {
        Self::at(&rig.place(), kind)
    }

    pub fn at(place: &Place, kind: Kind) -> Self {
        let me: PathBuf = std::env::current_exe().expect("the test's own binary");
        let role = [
            format!("{kind:?}"),
            place.database_url.clone(),
            place.amqp_url.clone(),
            place.exchange.clone(),
            place.dead_letter_exchange.clone(),
            place.queue.clone(),
            place.is_patient.to_string(),
        ];
        let child = Command::new(me)
            .args(["--exact", "worker::the_worker_that_other_tests_start", "--nocapture"])
            .env(ROLE, role.join("\n"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be run");
        Self(child)
    }

    pub fn kill9(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it ends");
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("it can be asked").is_none()
    }

    /// Waits until it has ended by itself, not well.
    pub async fn wait_aborted(&mut self) {
        let status = wait::found("the worker's end", wait::LONG, async || self.0.try_wait().expect("asked"));
        assert!(!status.await.success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Settings of every worker.
pub fn settings(place: &Place) -> ConsumerSettings {
    let mut settings = place.settings("shop");
    settings.deadline = Duration::from_millis(800);
    settings.claim_margin = Duration::from_millis(800);
    if place.is_patient {
        settings.retry.max_attempts = 6;
        settings.retry.floor = Duration::from_secs(1);
        settings.retry.cap = Duration::from_secs(16);
    }
    settings
}

/// Not a test of its own: what [`Worker::start`] runs. Run as a test, it checks that nobody wants it to be a worker.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_that_other_tests_start() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let role: Vec<&str> = role.lines().collect();
    let kind = if role[0] == "Inside" { Kind::Inside } else { Kind::Outside };
    let place = Place {
        database_url: role[1].to_owned(),
        amqp_url: role[2].to_owned(),
        exchange: role[3].to_owned(),
        dead_letter_exchange: role[4].to_owned(),
        queue: role[5].to_owned(),
        is_patient: role[6] == "true",
    };
    let _running = Running::start(settings(&place), place.handler(kind, "shop"));
    std::future::pending::<()>().await;
}
