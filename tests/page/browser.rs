//! A real browser: Debian's chromium without a window, driven by DevTools' messages over its pipe. One process for all tests,
//! each of which has a profile of its own within it. It ends with the tests: its pipe closes.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::{stack, wait};

/// Beyond what relay takes to give an answer up.
const PATIENCE: Duration = wait::LONG;

/// Looks of the page: its name, its width and height, and whether it is dark.
pub const LOOKS: [(&str, u32, u32, bool); 4] = [
    ("wide-light", 1440, 900, false),
    ("wide-dark", 1440, 900, true),
    ("narrow-light", 390, 844, false),
    ("narrow-dark", 390, 844, true),
];

struct Browser {
    stdin: Mutex<ChildStdin>,
    count: AtomicU64,
    heard: Arc<Mutex<Heard>>,
    log: PathBuf,
}

/// What came from it and is for somebody.
#[derive(Default)]
struct Heard {
    waiting: HashMap<u64, oneshot::Sender<Value>>,
    events: HashMap<String, Vec<Value>>,
}

impl Browser {
    fn shared() -> &'static Self {
        static BROWSER: OnceLock<Browser> = OnceLock::new();
        BROWSER.get_or_init(Self::start)
    }

    fn start() -> Self {
        let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("chromium");
        std::fs::create_dir_all(&home).unwrap();
        let log = home.join("log");
        // Fetched when first asked for, which takes its time.
        let found =
            Command::new(stack::PROGRAM).args(["chromium", "--", "--version"]).stdin(Stdio::null()).output();
        let found = found.expect("dev/stack can be run");
        assert!(found.status.success(), "no browser: {}", String::from_utf8_lossy(&found.stderr));
        let mut child = Command::new(stack::PROGRAM)
            .args(["chromium", "--", "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-GB"])
            .envs([("HOME", &home), ("XDG_CACHE_HOME", &home)])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("dev/stack can be run");
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let heard = Arc::new(Mutex::new(Heard::default()));
        std::thread::spawn({
            let heard = Arc::clone(&heard);
            move || {
                for message in BufReader::new(stdout).split(0).map_while(Result::ok) {
                    let message = serde_json::from_slice(&message).expect("DevTools speak JSON");
                    heard.lock().unwrap().take(message);
                }
                // Whoever waits learns that nothing will come.
                heard.lock().unwrap().waiting.clear();
                child.wait()
            }
        });
        Self { stdin: Mutex::new(stdin), count: AtomicU64::new(1), heard, log }
    }

    /// Asks, and does not wait.
    fn send(&self, session: Option<&str>, method: &str, parameters: &Value) -> oneshot::Receiver<Value> {
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let (sender, answer) = oneshot::channel();
        self.heard.lock().unwrap().waiting.insert(id, sender);
        // Whether it was heard, the answer tells.
        let _ = self.stdin.lock().unwrap().write_all(format!("{message}\0").as_bytes());
        answer
    }

    async fn call(&self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        let answer = self.send(session, method, &parameters);
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let Ok(Ok(mut answer)) = answer else {
            panic!("no answer to {method}: {}", std::fs::read_to_string(&self.log).unwrap_or_default());
        };
        assert!(answer["error"].is_null(), "{method} {parameters}: {}", answer["error"]);
        answer["result"].take()
    }
}

impl Heard {
    fn take(&mut self, message: Value) {
        if let Some(sender) = message["id"].as_u64().and_then(|id| self.waiting.remove(&id)) {
            // It may have stopped waiting.
            let _ = sender.send(message);
        } else if let Some(session) = message["sessionId"].as_str() {
            self.events.entry(session.to_owned()).or_default().push(message);
        }
    }
}

/// A tab, alone in a profile of its own.
pub struct Page {
    browser: &'static Browser,
    context: Value,
    session: String,
}

impl Page {
    /// Opens an address.
    pub async fn open(address: &str) -> Self {
        let browser = Browser::shared();
        let context =
            browser.call(None, "Target.createBrowserContext", json!({ "disposeOnDetach": true })).await;
        let context = json!({ "browserContextId": context["browserContextId"] });
        let blank = json!({ "url": "about:blank", "browserContextId": context["browserContextId"] });
        let target = browser.call(None, "Target.createTarget", blank).await;
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call(None, "Target.attachToTarget", target).await;
        let page = Self { browser, context, session: session["sessionId"].as_str().unwrap().to_owned() };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        page.look("wide-light").await;
        page.go(address).await;
        page
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        self.browser.call(Some(&self.session), method, parameters).await
    }

    /// Goes to another address.
    pub async fn go(&self, address: &str) {
        let gone = self.call("Page.navigate", json!({ "url": address })).await;
        assert!(gone["errorText"].is_null(), "{address}: {gone}");
    }

    /// Takes one of the [`LOOKS`].
    pub async fn look(&self, name: &str) {
        let (_, width, height, dark) = LOOKS.into_iter().find(|look| look.0 == name).expect("it is a look");
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if dark { "dark" } else { "light" };
        // A picture shows no colour on its way to another.
        let still = json!({ "name": "prefers-reduced-motion", "value": "reduce" });
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }, still] });
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// What an expression is.
    pub async fn eval(&self, expression: &str) -> Value {
        let expression = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut done = self.call("Runtime.evaluate", expression).await;
        assert!(done["exceptionDetails"].is_null(), "{}", done["exceptionDetails"]);
        done["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub async fn until(&self, expression: &str) {
        let start = std::time::Instant::now();
        // While it loads there is no document yet.
        let expression = format!("Boolean(document.body && ({expression}))");
        while self.eval(&expression).await != true {
            if start.elapsed() > PATIENCE {
                panic!("waited in vain until {expression}\n{}\n{:?}", self.text().await, self.complaints());
            }
            tokio::time::sleep(wait::TICK).await;
        }
    }

    /// What can be read.
    pub async fn text(&self) -> String {
        self.eval("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until this can be read.
    pub async fn reads(&self, words: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(words))).await;
    }

    /// Clicks on what has this name, as a mouse does: it has to be there, to be seen, and covered by nothing. In a dialog, if
    /// there is one.
    pub async fn click(&self, name: &str) {
        let find = format!(
            "(() => {{
               const within = document.querySelector('dialog[open]') ?? document;
               const named = (one) => (one.ariaLabel ?? one.textContent).trim() === {};
               const all = [...within.querySelectorAll('a, button, summary, input[type=checkbox]')];
               const one = all.find((one) => named(one) && !one.disabled && one.checkVisibility());
               if (!one) return null;
               one.scrollIntoView({{ block: 'center', behavior: 'instant' }});
               const box = one.getBoundingClientRect();
               const at = {{ x: box.left + box.width / 2, y: box.top + box.height / 2 }};
               return one.contains(document.elementFromPoint(at.x, at.y)) ? at : null;
             }})()",
            json!(name)
        );
        self.until(&format!("{find} !== null")).await;
        let at = self.eval(&find).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({ "type": kind, "x": at["x"], "y": at["y"], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Types into the field with this label, instead of what it holds. In a dialog, if there is one.
    pub async fn fill(&self, label: &str, text: &str) {
        let focus = format!(
            "(() => {{
               const within = document.querySelector('dialog[open]') ?? document;
               const label = [...within.querySelectorAll('label')].find((one) => one.textContent === {});
               if (!label?.control?.checkVisibility()) return false;
               label.control.focus();
               label.control.select?.();
               return true;
             }})()",
            json!(label)
        );
        self.until(&focus).await;
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`.
    pub async fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            other => panic!("which key is {other}?"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        let event = |kind: &str| json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
        self.call("Input.dispatchKeyEvent", event(if text.is_empty() { "rawKeyDown" } else { "keyDown" }))
            .await;
        self.call(
            "Input.dispatchKeyEvent",
            json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }),
        )
        .await;
    }

    /// What a dialog asks.
    pub async fn asks(&self, title: &str) {
        let title = json!(title);
        self.until(&format!("document.querySelector('dialog[open] h2')?.textContent === {title}")).await;
    }

    /// Everything the browser complained of: errors of scripts, what the policy forbids, what could not be loaded.
    pub fn complaints(&self) -> Vec<String> {
        let heard = self.browser.heard.lock().unwrap();
        let complaint = |event: &Value| {
            let parameters = &event["params"];
            match event["method"].as_str()? {
                "Log.entryAdded" => Some(parameters["entry"].to_string()),
                "Runtime.exceptionThrown" => Some(parameters["exceptionDetails"].to_string()),
                "Runtime.consoleAPICalled" if parameters["type"] != "log" => Some(parameters.to_string()),
                _ => None,
            }
        };
        let events = heard.events.get(&self.session).into_iter().flatten();
        events.filter_map(complaint).collect()
    }

    /// Where it sent requests to.
    pub fn requests(&self) -> Vec<String> {
        let heard = self.browser.heard.lock().unwrap();
        let events = heard.events.get(&self.session).into_iter().flatten();
        let sent = events.filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| Some(event["params"]["request"]["url"].as_str()?.to_owned())).collect()
    }

    /// Keeps what is seen as `target/page/NAME.png`, if `RELAY_DEV_SCREENSHOTS` is set.
    pub async fn keep(&self, name: &str) {
        if std::env::var_os("RELAY_DEV_SCREENSHOTS").is_none() {
            return;
        }
        let shot = json!({ "format": "png", "captureBeyondViewport": true });
        let shot = self.call("Page.captureScreenshot", shot).await;
        let png = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            shot["data"].as_str().expect("a picture"),
        );
        let folder = PathBuf::from(stack::REPOSITORY).join("target/page");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png.unwrap()).unwrap();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.browser.send(None, "Target.disposeBrowserContext", &self.context));
        self.browser.heard.lock().unwrap().events.remove(&self.session);
    }
}
