//! The document, as dev/asyncapi reads it.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

/// What dev/asyncapi says.
pub struct Report {
    pub document: Value,
    /// What is wrong with it, or with the messages.
    pub troubles: Vec<String>,
}

/// Holds messages against the document. Each is an object: which `message` it is said to be, and its `headers`, `payload` and
/// `properties`.
pub fn report(messages: &[Value]) -> Report {
    let mut child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("dev/asyncapi"))
        .arg("check")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dev/asyncapi can be run");
    let mut input = child.stdin.take().expect("its standard input is a pipe");
    let text = serde_json::to_vec(messages).unwrap();
    // It reads when it has looked at the document; what it says first fits a pipe.
    let writer = std::thread::spawn(move || input.write_all(&text));
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "dev/asyncapi check failed:\n{said}");
    writer.join().unwrap().expect("it reads the messages");
    let mut answer: Value = serde_json::from_slice(&output.stdout).expect("dev/asyncapi prints JSON");
    let troubles = serde_json::from_value(answer["troubles"].take()).unwrap();
    Report { document: answer["document"].take(), troubles }
}

/// The document, read once.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| report(&[]).document)
}

/// Names of the entries of an object.
pub fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// A list of texts.
pub fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// The names of headers of relay's that any schema of the document describes, each once, in order.
pub fn described_headers() -> Vec<&'static str> {
    let schemas = document()["components"]["schemas"].as_object().expect("an object");
    let mut names: Vec<&str> = schemas
        .values()
        .filter_map(|schema| schema["properties"].as_object())
        .flat_map(|properties| properties.keys())
        .map(String::as_str)
        .filter(|name| name.starts_with("x-relay-"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
