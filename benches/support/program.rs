//! A program of ours as a process under measurement.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Runs until it is dropped.
pub(crate) struct Program {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    /// Where its metrics are.
    admin: String,
}

impl Program {
    /// Starts it and waits for the line of its log, which must be JSON, that says where it listens.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let mut lines = BufReader::new(stderr).lines().map_while(std::result::Result::ok);
        let mut last = String::new();
        let found = lines.find_map(|line| {
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            last = line;
            let field = |name: &str| value[name].as_str().map(str::to_owned);
            let address = field("address")?;
            Some((address.clone(), field("admin").unwrap_or(address)))
        });
        let Some((address, admin)) = found else {
            let _ = child.wait();
            return Err(format!("{command:?} ended early: {last}").into());
        };
        // A pipe that nobody reads would stop it; and what goes wrong belongs beside the figures.
        std::thread::spawn(move || {
            lines.filter(|line| line.contains("\"ERROR\"")).for_each(|line| println!("{line}"));
        });
        Ok(Self { child, address, admin })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.admin)?;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The first value of a metric.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        self.metric_of(name, "")
    }

    /// The first value of a metric with such a label.
    pub(crate) fn metric_of(&self, name: &str, label: &str) -> Result<f64> {
        let text = self.get("/metrics")?;
        let value = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label))
            .and_then(|line| line.rsplit(' ').next())
            .and_then(|value| value.parse().ok());
        value.ok_or_else(|| format!("no metric {name}").into())
    }

    /// Waits until a metric has reached a value.
    pub(crate) async fn until(&self, name: &str, value: f64, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while self.metric(name)? < value {
            if Instant::now() > end {
                let reached = self.metric(name)?;
                return Err(format!("{name} did not reach {value} within {limit:?}: {reached}").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while !self.get("/readyz")?.starts_with("HTTP/1.1 200") {
            if Instant::now() > end {
                return Err(format!("it is not ready: {}", self.get("/readyz")?).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
