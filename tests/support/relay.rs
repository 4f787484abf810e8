//! relay itself: the real binary, as a process.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;

use super::{broker::Broker, database::Database, wait};

/// The one that was built with the tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_relay");

/// `relay` with nothing of this process's environment.
fn clean(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env_clear().current_dir(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    command
}

/// A command that ends by itself.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `relay ARGS` to its end, with this environment alone.
pub fn finish(args: &[&str], env: &[(&str, &str)]) -> Finished {
    finish_of(PROGRAM, args, env)
}

/// Likewise, another program.
pub fn finish_of(program: &str, args: &[&str], env: &[(&str, &str)]) -> Finished {
    let output = clean(program, args).envs(env.iter().copied()).output().expect("relay can be run");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// How to run it.
#[derive(Debug, Clone)]
pub struct Relay {
    program: String,
    env: BTreeMap<String, String>,
}

impl Relay {
    /// `relay run` between a test's database and its corner of the broker.
    pub fn between(database: &Database, broker: &Broker) -> Self {
        let env = [
            ("DATABASE_URL", database.url.as_str()),
            ("AMQP_URL", &broker.url),
            ("RELAY_OUTBOX_EXCHANGE", &broker.exchange),
            ("RELAY_DEAD_LETTER_EXCHANGE", &broker.dead_letter_exchange),
            ("RELAY_DEAD_LETTER_QUEUE", &broker.dead_letter_queue),
            ("RELAY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("RELAY_LOG_FORMAT", "json"),
        ];
        Self::with(&env)
    }

    /// Another program: that of an older version.
    pub fn program(mut self, path: &str) -> Self {
        path.clone_into(&mut self.program);
        self
    }

    /// `relay run` by a configuration file alone.
    pub fn configured_by(file: &str) -> Self {
        let env =
            [("RELAY_CONFIG", file), ("RELAY_ADMIN_LISTEN", "127.0.0.1:0"), ("RELAY_LOG_FORMAT", "json")];
        Self::with(&env)
    }

    fn with(env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { program: PROGRAM.to_owned(), env }
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Runs another of its commands, which has to succeed; returns its stdout.
    pub fn command(&self, args: &[&str]) -> String {
        let env: Vec<_> = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let done = finish(args, &env);
        assert_eq!(done.code, Some(0), "relay {args:?}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// Starts it; returns once it has said where its metrics are.
    pub async fn start(&self) -> RelayProcess {
        let mut command = clean(&self.program, &["run"]);
        command.envs(&self.env);
        RelayProcess::launch(command).await
    }

    /// Starts it, and waits until it says that it is ready.
    pub async fn ready(&self) -> RelayProcess {
        let process = self.start().await;
        process.wait_ready().await;
        process
    }
}

/// A running relay, or another daemon that is one like it; killed when dropped. Prints the end of its log if that is
/// because a test fails.
#[derive(Debug)]
pub struct RelayProcess {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    admin: Option<SocketAddr>,
}

impl RelayProcess {
    /// Starts a daemon; returns once it has said where its metrics are.
    pub async fn launch(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the daemon can be run");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("stderr is a pipe");
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    log.lock().expect("nobody panics with it").push(line);
                }
            }
        });
        let mut process = Self { child, log, admin: None };
        let address = wait::found("the daemon's first line", wait::LONG, async || {
            process.lines().iter().find_map(|line| line["address"].as_str()?.parse().ok())
        });
        process.admin = Some(address.await);
        process
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        // Not collected yet, so the number is still this process's own.
        let status = Command::new("bash")
            .args(["-c", "kill -s \"$1\" \"$2\"", "-", name, &self.pid().to_string()])
            .status();
        assert!(status.expect("there is a bash").success(), "relay is gone");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill9(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_none()
    }

    /// Waits until it ends by itself.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        wait::found("relay's end", limit, async || self.child.try_wait().expect("it can be asked")).await
    }

    /// SIGTERM; it must drain and exit 0.
    pub async fn drain(&mut self) {
        self.signal("TERM");
        assert_eq!(self.wait_exit(wait::LONG).await.code(), Some(0), "relay's exit code");
    }

    /// Everything it logged so far, as text.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").join("\n")
    }

    /// Everything it logged so far; a line that is not JSON is null.
    pub fn lines(&self) -> Vec<Value> {
        let log = self.log.lock().expect("nobody panics with it");
        log.iter().map(|line| serde_json::from_str(line).unwrap_or_default()).collect()
    }

    /// Messages at WARN or ERROR.
    pub fn complaints(&self) -> Vec<String> {
        let loud = |line: &Value| matches!(line["level"].as_str(), Some("WARN" | "ERROR"));
        let text = |line: Value| line["message"].as_str().unwrap_or_default().to_owned();
        self.lines().into_iter().filter(loud).map(text).collect()
    }

    /// Where its admin listener is.
    pub fn address(&self) -> SocketAddr {
        self.admin.expect("it said where its admin listener is")
    }

    /// `GET` on its admin listener: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log()))
    }

    fn try_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let address = self.address();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::InvalidData)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
    }

    /// A metric's value: the first line of this name with all of these labels (`state="ready"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.get("/metrics").1;
        let line = text.lines().find(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_else(|| panic!("there is no metric {name} with {labels:?} in\n{text}"))
    }

    pub fn is_ready(&self) -> bool {
        self.get("/readyz").0 == 200
    }

    /// Waits until it can work.
    pub async fn wait_ready(&self) {
        wait::until("relay is ready", wait::LONG, async || self.is_ready()).await;
    }

    /// Waits until `/readyz` is 503 and names this cause.
    pub async fn wait_trouble(&self, cause: &str) {
        wait::until(&format!("/readyz says {cause:?}"), wait::LONG, async || {
            let (status, body) = self.get("/readyz");
            status == 503 && body.contains(cause)
        })
        .await;
    }

    /// Waits for a metric to have a value.
    pub async fn wait_metric(
        &self,
        name: &str,
        labels: &[&str],
        limit: Duration,
        expected: impl Fn(f64) -> bool,
    ) {
        let what = format!("{name}{labels:?} is as expected");
        wait::until(&what, limit, async || expected(self.metric(name, labels))).await;
    }

    /// Waits for a line in the log.
    pub async fn wait_log(&self, part: &str) {
        wait::until(&format!("relay logs {part:?}"), wait::LONG, async || self.log().contains(part)).await;
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("---- the end of the log of relay, process {}", self.pid());
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
            if self.admin.is_some()
                && let Ok((_, ready)) = self.try_get("/readyz")
            {
                eprintln!("---- /readyz: {ready}");
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
