//! Prometheus' own tool.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

/// Runs `promtool ARGS`, with this on its standard input; it must succeed.
pub fn run(args: &[&str], input: &str) {
    let mut child = Command::new(crate::root().join("dev/stack"))
        .args(["promtool", "--"])
        .args(args)
        // It lives for seconds, and spends a third of them on collecting garbage.
        .env("GOGC", "400")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dev/stack can be run");
    let mut stdin = child.stdin.take().unwrap();
    // It may end without reading.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(
        output.status.success(),
        "promtool {args:?} ended with {}\n{}",
        output.status,
        String::from_utf8_lossy(&said)
    );
}

/// A file for it. JSON is YAML.
pub fn file(name: &str, content: &Value) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, format!("{content:#}")).unwrap();
    path
}
