//! The table and the JSON file.

use std::path::Path;

use serde_json::{Value, json};

/// A number of the environment.
pub(crate) fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The middle value; of an even number, the lower of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The value below which so many percent of them are; of an even number, the lower of the two in the middle.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// Figures in the order they were measured.
pub(crate) struct Report {
    /// How it was measured.
    settings: Value,
    figures: Vec<Value>,
}

impl Report {
    pub(crate) fn new(settings: Value) -> Self {
        Self { settings, figures: vec![] }
    }

    pub(crate) fn add(&mut self, what: &str, value: f64, unit: &str, target: Option<&str>) {
        println!("{what:<56} {:>12} {unit:<7} {}", shown(value), target.unwrap_or(""));
        self.figures.push(json!({ "what": what, "value": value, "unit": unit, "target": target }));
    }

    /// A figure with what it was made of, and whether it is what it should be.
    pub(crate) fn judge(&mut self, what: &str, value: f64, raw: &[f64], unit: &str, target: Option<Target>) {
        let (said, met) = match target {
            None => (String::new(), None),
            Some(Target::AtLeast(least)) => (format!("at least {least}"), Some(value >= least)),
            Some(Target::AtMost(most)) => (format!("at most {most}"), Some(value <= most)),
        };
        let verdict = met.map_or("", |met| if met { "met" } else { "missed" });
        let raw: Vec<f64> = raw.iter().map(|value| (value * 1000.0).round() / 1000.0).collect();
        println!("{what:<64} {:>9} {unit:<5} {said:<13} {verdict:<6} {raw:?}", shown(value));
        self.figures.push(
            json!({ "what": what, "value": value, "unit": unit, "target": said, "met": met, "raw": raw }),
        );
    }

    /// The same of the median.
    pub(crate) fn judge_median(&mut self, what: &str, raw: &[f64], unit: &str, target: Option<Target>) {
        self.judge(what, median(raw), raw, unit, target);
    }

    /// Writes `target/bench/NAME.json` and prints the table.
    pub(crate) fn finish(&self, name: &str) -> std::io::Result<()> {
        self.save(name)?;
        println!("\n| what | measured | target |\n|---|---|---|");
        for figure in &self.figures {
            println!(
                "| {} | {} {} | {} |",
                figure["what"].as_str().unwrap_or(""),
                shown(figure["value"].as_f64().unwrap_or(f64::NAN)),
                figure["unit"].as_str().unwrap_or(""),
                match figure["met"].as_bool() {
                    Some(false) => format!("{}, missed", figure["target"].as_str().unwrap_or("")),
                    _ => figure["target"].as_str().unwrap_or("").to_owned(),
                }
            );
        }
        Ok(())
    }

    /// Writes `target/bench/NAME.json`.
    pub(crate) fn save(&self, name: &str) -> std::io::Result<()> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        std::fs::create_dir_all(&directory)?;
        let report = json!({ "settings": self.settings, "figures": self.figures });
        std::fs::write(directory.join(format!("{name}.json")), format!("{report:#}\n"))
    }
}

fn shown(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
