//! CPU and memory of the processes under measurement, from /proc.

use std::fs;

/// Clock ticks a second: Linux' USER_HZ, 100 on every architecture Rust supports.
const TICKS: f64 = 100.0;

fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let rest = stat.rsplit_once(") ")?.1;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn ticks(fields: &[String], range: std::ops::Range<usize>) -> f64 {
    fields.get(range).unwrap_or_default().iter().filter_map(|field| field.parse::<f64>().ok()).sum()
}

/// User and system time of one process so far, in seconds.
pub(crate) fn cpu(pid: u32) -> f64 {
    fields(pid).map_or(0.0, |fields| ticks(&fields, 11..13) / TICKS)
}

/// The same, of a process, its living children and those that have ended.
pub(crate) fn cpu_of_family(pid: u32) -> f64 {
    let own = fields(pid).map_or(0.0, |fields| ticks(&fields, 11..15) / TICKS);
    let children = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(fields)
        .filter(|fields| fields.get(1).is_some_and(|parent| *parent == pid.to_string()))
        .map(|fields| ticks(&fields, 11..13) / TICKS)
        .sum::<f64>();
    own + children
}

/// The most memory a process has had resident, in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?.to_owned();
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        })
        .map_or(0.0, |kib| kib / 1024.0)
}
