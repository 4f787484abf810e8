//! A container of a rendered pod, as a process of this machine.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use serde_json::Value;

use crate::report::{Object, Scenario, list, map, text};

/// What stands in for every secret that the cluster would have.
pub(crate) const SECRET: &str = "hunter2";

/// A certificate authority.
static AUTHORITY: LazyLock<String> =
    LazyLock::new(|| rcgen::generate_simple_self_signed(["authority".to_owned()]).unwrap().cert.pem());

/// A container with its environment and its files, in a folder of its own.
#[derive(Debug)]
pub(crate) struct Container {
    program: PathBuf,
    args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    folder: PathBuf,
}

impl Container {
    /// The only container of these pods.
    pub(crate) fn of(scenario: &Scenario, object: &Object) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("chart-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let spec = &object.pod().expect("it has pods")["spec"];
        let [container] = list(&spec["containers"]) else {
            panic!("{} has several containers", object.title())
        };
        let program = match list(&container["command"]) {
            [name] if name == "relay" => env!("CARGO_BIN_EXE_relay"),
            [name] if name == "shipments" => env!("CARGO_BIN_EXE_shipments"),
            other => panic!("{other:?} is no program of the image"),
        };
        let mut this = Self {
            program: program.into(),
            args: list(&container["args"]).iter().map(|arg| text(arg).to_owned()).collect(),
            env: list(&container["env"]).iter().map(variable).collect(),
            folder,
        };
        for mount in list(&container["volumeMounts"]) {
            let volume = list(&spec["volumes"]).iter().find(|volume| volume["name"] == mount["name"]);
            let volume = volume.unwrap_or_else(|| panic!("{} mounts no volume: {mount}", object.title()));
            this.mount(scenario, text(&mount["mountPath"]), volume);
        }
        this
    }

    /// Puts the files there, and makes the environment say so.
    fn mount(&mut self, scenario: &Scenario, path: &str, volume: &Value) {
        let folder = self.folder.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(&folder).unwrap();
        let name = volume["configMap"]["name"].as_str();
        let made = |object: &&&Object| Some(object.name()) == name;
        if let Some(map_of_files) = scenario.of_kind("ConfigMap").iter().find(made) {
            for (file, content) in map(&map_of_files.body["data"]) {
                std::fs::write(folder.join(file), text(content)).unwrap();
            }
        }
        for (name, value) in &mut self.env {
            if let Some(file) = value.strip_prefix(&format!("{path}/")) {
                let file = folder.join(file);
                if !file.exists() {
                    // From a Secret or a ConfigMap of the cluster's.
                    let content = match name.as_str() {
                        "RELAY_CONFIG" => format!("[amqp]\nurl = \"{}\"\n", broker()),
                        "SHIPMENTS_API_TOKENS_FILE" => format!("shop:{}\n", "0a".repeat(32)),
                        _ => AUTHORITY.clone(),
                    };
                    std::fs::write(&file, content).unwrap();
                }
                *value = file.to_str().unwrap().to_owned();
            }
        }
    }

    /// With other arguments than its own, and nothing of this process's environment.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).env_clear().envs(&self.env).current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn finish(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Starts it as it would start in a cluster, on ports of its own.
    pub(crate) fn start(mut self) -> Running {
        for (name, value) in &mut self.env {
            if name.ends_with("_LISTEN") {
                *value = "127.0.0.1:0".to_owned();
            }
        }
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let mut child = self.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (send, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody may be listening any more; the pipe is emptied all the same.
                let _ = send.send(line);
            }
        });
        let mut running = Running { child, admin: String::new(), _container: self };
        let mut log = String::new();
        while running.admin.is_empty() {
            let Ok(line) = said.recv_timeout(Duration::from_secs(60)) else {
                panic!("it does not say where its metrics are:\n{log}");
            };
            let fields: Value = serde_json::from_str(&line).unwrap_or_default();
            let address = fields["admin"].as_str().or(fields["address"].as_str());
            running.admin = address.unwrap_or_default().to_owned();
            log.push_str(&line);
            log.push('\n');
        }
        running
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A variable and its value; that of a secret is one that the program takes. Nobody listens on these ports.
fn variable(variable: &Value) -> (String, String) {
    let name = text(&variable["name"]).to_owned();
    let secret = &variable["valueFrom"]["secretKeyRef"];
    let value = match (&variable["value"], &name) {
        (Value::String(value), _) => value.clone(),
        _ if name.contains("DATABASE") => {
            // One each, for two outboxes can't share a table.
            format!("postgres://shop:{SECRET}@127.0.0.1:1/{}", text(&secret["name"]).replace('-', "_"))
        }
        _ if name.contains("AMQP") => broker(),
        // Two of them must differ.
        _ if name.contains("PAGE") => format!("{}-{SECRET}-{SECRET}", text(&secret["key"])),
        _ => format!("EZTK-{SECRET}-{SECRET}-{SECRET}"),
    };
    (name, value)
}

fn broker() -> String {
    format!("amqp://shop:{SECRET}@127.0.0.1:1/%2f")
}

/// It lives.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    admin: String,
    _container: Container,
}

impl Running {
    /// The status of a GET.
    pub(crate) fn get(&self, path: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap()
    }

    /// SIGTERM; its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let killed = Command::new("bash").args(["-c", "kill -s TERM \"$1\"", "-", &pid]).status();
        assert!(killed.unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
