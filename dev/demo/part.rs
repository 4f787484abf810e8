//! A program at work, as a process that may be killed and started again.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use relay::http::client::{HttpClient, HttpSettings, Method, Request};
use tokio::process::{Child, Command};

use crate::servers::{PATIENCE, Result, until};

/// relay, or a part of shipping. Its log is in a file.
pub(crate) struct Part {
    name: String,
    command: Command,
    ready: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Part {
    pub(crate) fn new(name: &str, mut command: Command, ready: String, log: PathBuf) -> Result<Self> {
        let file = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        Ok(Self { name: name.to_owned(), command, ready, log, child: None })
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it, for the first time or again; returns once it can work.
    pub(crate) async fn start(&mut self) -> Result<()> {
        let mut child = self.command.spawn()?;
        let what = format!("{} is ready", self.name);
        let started = until(&what, async || {
            if let Some(status) = child.try_wait()? {
                return Err(format!("it ended: {status}").into());
            }
            Ok(get(&self.ready).await.is_some())
        });
        let started = started.await;
        self.child = Some(child);
        started.map_err(|error| format!("{}: {error}; see {}", self.name, self.log.display()).into())
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().ok_or_else(|| format!("{} does not run", self.name))?;
        // Whoever has ended by itself could not be killed in the middle of anything.
        if let Some(status) = child.try_wait()? {
            return Err(format!("{} has ended by itself: {status}", self.name).into());
        }
        Ok(child.kill().await?)
    }

    /// SIGTERM: it must finish what it has begun, and say that it did.
    pub(crate) async fn drain(&mut self) -> Result<()> {
        let mut child = self.child.take().ok_or_else(|| format!("{} does not run", self.name))?;
        let pid = child.id().ok_or_else(|| format!("{} has ended by itself", self.name))?;
        Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        let status = tokio::time::timeout(PATIENCE, child.wait())
            .await
            .map_err(|_| format!("{} does not drain within {PATIENCE:?}", self.name))??;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{} ended with {status}; see {}", self.name, self.log.display()).into())
        }
    }
}

/// Calls another program on this machine.
pub(crate) fn http() -> Result<HttpClient> {
    let settings =
        HttpSettings { deadline: Duration::from_secs(20), body_cap: 64 << 20, ..Default::default() };
    Ok(HttpClient::new(settings, None)?)
}

/// The body that is there; none if there is no good answer.
pub(crate) async fn get(url: &str) -> Option<Vec<u8>> {
    let request = Request { method: Method::GET, url: url.to_owned(), headers: vec![], body: vec![].into() };
    let response = http().ok()?.send(request).await.ok()?;
    (response.status == 200).then(|| response.body.to_vec())
}
