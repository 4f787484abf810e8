//! Postgres and RabbitMQ: shared ones for most tests, and ones that a test may kill and freeze.
//!
//! A server that is missing is a failure, never a reason to skip.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::{Mutex, MutexGuard};

use super::stack;
pub(crate) use super::stack::Servers;

/// The servers of `DATABASE_URL` and `AMQP_URL`, or a private stack that is brought up once and left running.
pub fn shared() -> &'static Servers {
    static SHARED: OnceLock<Servers> = OnceLock::new();
    SHARED.get_or_init(|| match (std::env::var("DATABASE_URL"), std::env::var("AMQP_URL")) {
        (Ok(database_url), Ok(amqp_url)) => Servers { database_url, amqp_url },
        // dev/stack takes the one that is given and starts the other.
        _ => up(Command::new(stack::PROGRAM).arg("up")),
    })
}

/// A missing server fails every test, with what `dev/stack` said.
fn up(command: &mut Command) -> Servers {
    stack::up(command).unwrap_or_else(|error| panic!("nothing to test against: {error}"))
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Broker,
    Postgres,
}

/// A stack that belongs to this process alone. It goes when the process ends, however it ends.
#[derive(Debug)]
pub struct Own {
    dir: PathBuf,
    servers: Servers,
    /// Held open; see [`reaper`].
    _alive: ChildStdin,
}

impl Own {
    /// Starts one.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new(stack::REPOSITORY).join(".relay-dev-own").join(name);
        let alive = reaper(&dir);
        let servers = up(stack::in_folder("up", &dir)
            .env("RELAY_DEV_PG_OPTS", "-c shared_buffers=64MB -c max_prepared_transactions=4"));
        Self { dir, servers, _alive: alive }
    }

    /// Where its servers are; they come back on the same ports.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// SIGKILL to every process of the server: what a crash looks like.
    pub fn kill(&self, server: Server) {
        self.command("kill", server);
    }

    /// SIGSTOP: connections stay open, and nobody answers.
    pub fn freeze(&self, server: Server) {
        self.command("freeze", server);
    }

    /// The end of [`Self::freeze`].
    pub fn thaw(&self, server: Server) {
        self.command("thaw", server);
    }

    /// Starts it again; returns when it is ready.
    pub fn boot(&self, server: Server) {
        self.command("start", server);
    }

    /// Starts what does not run, thaws what is frozen.
    pub fn all_up(&self) {
        up(&mut stack::in_folder("up", &self.dir));
    }

    /// Prints the state of the broker's queues, and the ends of the servers' logs.
    fn tell(&self) {
        let list = "-- --timeout 10 list_queues name type state messages consumers";
        let mut queues = stack::in_folder("rabbitmqctl", &self.dir);
        match queues.args(list.split(' ')).stdin(Stdio::null()).output() {
            Ok(output) => eprintln!(
                "---- queues\n{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => eprintln!("---- queues: {error}"),
        }
        for log in ["rabbit/log/rabbit.log", "log/postgres.log"] {
            let text = std::fs::read(self.dir.join(log)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            eprintln!("---- {log}\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }

    fn command(&self, verb: &str, server: Server) {
        let name = match server {
            Server::Broker => "broker",
            Server::Postgres => "postgres",
        };
        run(&mut stack::in_folder(&format!("{verb}-{name}"), &self.dir));
    }

    /// Runs `rabbitmqctl` on its broker. Takes a second.
    pub fn rabbitmqctl(&self, args: &[&str]) {
        run(stack::in_folder("rabbitmqctl", &self.dir).arg("--").args(args));
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("dev/stack can be run");
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A process that waits for the other end of its standard input to close, be it by SIGKILL, and then wipes the stack:
/// statics are never dropped, and a test run may be killed. It has a process group of its own, out of Ctrl-C's way.
fn reaper(dir: &Path) -> ChildStdin {
    use std::os::unix::process::CommandExt;
    let mut reaper = Command::new("bash")
        .args(["-c", r#"cat; "$1" wipe "$2"; rmdir "$(dirname "$2")""#, "-"])
        .arg(stack::PROGRAM)
        .arg(dir)
        .env_remove("DATABASE_URL")
        .env_remove("AMQP_URL")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("there is a bash");
    let alive = reaper.stdin.take().expect("its standard input is a pipe");
    // Collected when it ends before us; else by init.
    std::thread::spawn(move || reaper.wait());
    alive
}

/// The one stack that tests of outages take turns with.
pub struct Lent(MutexGuard<'static, Option<Own>>);

/// A test that fails on servers that were killed and frozen asks what these have to say.
impl Drop for Lent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
    }
}

impl Deref for Lent {
    type Target = Own;

    fn deref(&self) -> &Own {
        self.0.as_ref().expect("it was started when it was lent")
    }
}

/// Waits for this process's own stack; both servers are up and thawed then.
pub async fn own() -> Lent {
    static OWN: Mutex<Option<Own>> = Mutex::const_new(None);
    let mut own = OWN.lock().await;
    match &*own {
        Some(own) => own.all_up(),
        None => *own = Some(Own::start()),
    }
    Lent(own)
}
