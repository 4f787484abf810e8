//! A database, `shipments api` before it as a process, and short ways to ask it.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    client::{Answer, exchange, request},
    support::{database::Database, servers, wait},
};

/// The tokens of the two callers, and the file that knows them.
pub const SHOP: &str = "Bearer secret";
pub const DESK: &str = "Bearer other";
const TOKENS: &str = "# printf TOKEN | sha256sum
shop:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
desk:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa
";
/// What the carrier signs with.
pub const CARRIER_SECRET: &str = "correct horse battery";

/// A database with shipping's tables, and a role for the API.
pub struct Rig {
    pub db: Database,
    role: String,
    env: Vec<(String, String)>,
}

fn shipments(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shipments"));
    command.args(args).env_clear().current_dir(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    command
}

impl Rig {
    pub async fn new() -> Self {
        let db = Database::new(servers::shared()).await;
        let name: String = db.query("select current_database()", &[]).await[0].get(0);
        // Roles belong to the server, tests to a database of it.
        let role = format!("{name}_api");
        let create =
            format!("do $$ begin create role {role}; exception when duplicate_object then null; end $$");
        db.client().await.batch_execute(&create).await.unwrap();
        let migrate = shipments(&["migrate", "--grant", &format!("api={role}")])
            .env("DATABASE_URL", &db.url)
            .output()
            .unwrap();
        assert!(migrate.status.success(), "{}", String::from_utf8_lossy(&migrate.stderr));
        let tokens = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipping_api.tokens");
        let fresh = tokens.with_extension(format!("{name}.new"));
        std::fs::write(&fresh, TOKENS).unwrap();
        std::fs::rename(&fresh, &tokens).unwrap();
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let env = vec![
            set("DATABASE_URL", &as_role(&db.url, &role)),
            set("SHIPMENTS_API_TOKENS_FILE", tokens.to_str().unwrap()),
            set("SHIPMENTS_API_LISTEN", "127.0.0.1:0"),
            set("SHIPMENTS_API_ADMIN_LISTEN", "127.0.0.1:0"),
            set("SHIPMENTS_CARRIER_WEBHOOK_SECRET", CARRIER_SECRET),
        ];
        Self { db, role, env }
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a variable away.
    pub fn forget(&mut self, name: &str) {
        self.env.retain(|(other, _)| other != name);
    }

    /// Reaches the database by another address.
    pub fn through(self, address: SocketAddr) -> Self {
        let (from, _) = authority(&self.db.url);
        let url = as_role(&self.db.url.replacen(&from, &address.to_string(), 1), &self.role);
        self.env("DATABASE_URL", &url)
    }

    /// Starts the API; returns once it takes requests.
    pub async fn start(&self) -> Api {
        let mut child = shipments(&["api"])
            .envs(self.env.iter().cloned())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    log.lock().unwrap().push(line);
                }
            }
        });
        let mut api = Api { child, log, address: None, admin: None };
        let found = wait::found("the API's first line", wait::LONG, async || {
            api.lines().iter().find_map(|line| {
                Some((line["address"].as_str()?.parse().ok()?, line["admin"].as_str()?.parse().ok()?))
            })
        });
        let (address, admin) = found.await;
        (api.address, api.admin) = (Some(address), Some(admin));
        api
    }

    /// Starts the API, which is to end by itself: its code, and what it says.
    pub fn ends(&self) -> (Option<i32>, String) {
        let output = shipments(&["api"]).envs(self.env.iter().cloned()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Starts the API and waits until it has its database; then adds order 17, of 1,000,000 apples and four pears.
    pub async fn ready(&self) -> Api {
        let api = self.start().await;
        api.wait_ready().await;
        let put = api.put("/orders/17", &order()).await;
        assert!([200, 201].contains(&put.status), "{put:?}");
        api
    }

    pub async fn count(&self, table: &str) -> i64 {
        self.db.number(&format!("select count(*) from shipping.{table}")).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let (url, role) = (self.db.url.clone(), self.role.clone());
        crate::support::database::finally(async move {
            if let Ok(client) = crate::support::database::connect(&url).await {
                let _ = client.batch_execute(&format!("drop owned by {role}; drop role {role}")).await;
            }
        });
    }
}

/// `host:port` of a URL.
pub fn authority(url: &str) -> (String, String) {
    let rest = url.split_once("://").unwrap().1;
    let rest = rest.split('/').next().unwrap();
    let host = rest.rsplit('@').next().unwrap().to_owned();
    (host.clone(), host)
}

fn as_role(url: &str, role: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}options=-c%20role%3D{role}")
}

pub fn address() -> Value {
    json!({"name": "Ada", "street1": "Main St 1", "city": "Springfield", "zip": "12345", "country": "US"})
}

pub fn order() -> Value {
    json!({
        "currency": "EUR", "ship_to": address(),
        "lines": [{"sku": "apple", "ordered": 1_000_000, "unit_price_minor": 150},
                  {"sku": "pear", "ordered": 4, "unit_price_minor": 200}],
        "parties": [{"role": "customer", "mail": "ada@example.com"}],
    })
}

/// A shipment of order 17 with so many apples.
pub fn apples(quantity: i64) -> Value {
    json!({
        "order_id": "17", "ship_from": address(),
        "cases": [{"weight_grams": 500, "length_mm": 300, "width_mm": 200, "height_mm": 100,
                   "lines": [{"line": 1, "quantity": quantity}]}],
    })
}

/// `shipments api`; killed when dropped. Prints the end of its log if that is because a test fails.
pub struct Api {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    address: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Api {
    pub fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    /// A request of the shop's.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.try_ask(method, path, headers, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub async fn try_ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut all = vec![("authorization", SHOP), ("content-type", "application/json")];
        all.retain(|(name, _)| !headers.iter().any(|(other, _)| other == name));
        all.extend(headers);
        exchange(self.address(), &request(method, path, &all, body)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"").await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, &[], body.to_string().as_bytes()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], body.to_string().as_bytes()).await
    }

    /// `POST` with a key.
    pub async fn keyed(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[("idempotency-key", key)], body.to_string().as_bytes()).await
    }

    /// Has a shipment of one apple accepted; returns where it is.
    pub async fn accepted(&self, key: &str) -> String {
        let answer = self.keyed("/shipments", key, &apples(1)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.header("location").unwrap().to_owned()
    }

    /// `GET` on the admin listener.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let answer = exchange(self.admin.unwrap(), &request("GET", path, &[], b"")).await.unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    pub async fn wait_ready(&self) {
        wait::until("the API is ready", wait::LONG, async || self.admin("/readyz").await.0 == 200).await;
    }

    /// A metric's value: the line that begins so.
    pub async fn metric(&self, line: &str) -> f64 {
        let text = self.admin("/metrics").await.1;
        let found = text.lines().find_map(|other| other.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("there is no {line} in\n{text}"))
    }

    pub fn signal(&self, name: &str) {
        // Not collected yet, so the number is still this process's own.
        let status = Command::new("bash")
            .args(["-c", "kill -s \"$1\" \"$2\"", "-", name, &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success(), "the API is gone");
    }

    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        wait::found("the API's end", limit, async || self.child.try_wait().unwrap()).await
    }

    pub fn lines(&self) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        log.iter().map(|line| serde_json::from_str(line).unwrap_or_default()).collect()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the end of the API's log");
            let log = self.log.lock().unwrap();
            log.iter().rev().take(30).rev().for_each(|line| eprintln!("{line}"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
