//! A real pgbouncer in transaction mode, in front of a server.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tokio_postgres::config::Host;

use super::{stack, wait};

/// A running pooler; killed when dropped. Prints its log if that is because a test fails.
#[derive(Debug)]
pub struct Pooler {
    child: Option<Child>,
    port: u16,
    /// Configuration and log.
    files: [PathBuf; 2],
    server: tokio_postgres::Config,
}

impl Pooler {
    /// Lends so many sessions of the server of this URL.
    pub async fn before(url: &str, sessions: u32) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server: tokio_postgres::Config = url.parse().expect("the test's URL is one");
        let host = match server.get_hosts() {
            [Host::Tcp(name), ..] => name.clone(),
            [Host::Unix(folder), ..] => folder.display().to_string(),
            [] => "127.0.0.1".to_owned(),
        };
        let password = server.get_password().map(|word| String::from_utf8_lossy(word).into_owned());
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let text = format!(
            "[databases]\n* = host={host} port={} user={} {}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = {sessions}\nmax_client_conn = 200\n\
             server_login_retry = 1\n",
            server.get_ports().first().unwrap_or(&5432),
            server.get_user().unwrap_or("postgres"),
            password.map(|word| format!("password={word}")).unwrap_or_default(),
        );
        // Where the user it runs as can read it.
        let name = format!("relay-pooler-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let files = ["ini", "log"].map(|kind| std::env::temp_dir().join(format!("{name}.{kind}")));
        fs::write(&files[0], text).expect("its configuration can be written");
        let mut pooler = Self { child: None, port, files, server };
        pooler.start().await;
        pooler
    }

    /// Starts it on its port; returns when it takes connections.
    pub async fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(&self.files[1]).expect("its log");
        // It is killed when this end of the pipe is closed, be it by the death of this process.
        let script = r#""$1" pgbouncer -- "$2" & cat; kill -KILL $!; wait"#;
        let mut command = Command::new("bash");
        command.args(["-c", script, "-", stack::PROGRAM]).arg(&self.files[0]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("there is a bash"));
        wait::until("the pooler takes connections", wait::LONG, async || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        })
        .await;
    }

    /// Kills it, and with it every connection through it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            child.wait().expect("it ends");
        }
    }

    /// The way through it to the database.
    pub fn url(&self) -> String {
        let user = self.server.get_user().unwrap_or("postgres");
        format!("postgres://{user}@127.0.0.1:{}/{}", self.port, self.server.get_dbname().expect("a database"))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the pooler's log\n{}", fs::read_to_string(&self.files[1]).unwrap_or_default());
        }
        self.kill();
        self.files.iter().for_each(|file| _ = fs::remove_file(file));
    }
}
