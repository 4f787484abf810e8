//! The table and the JSON file.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::servers::Result;

/// The middle value; of an even number, the lower of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Figures in the order they were measured.
pub(crate) struct Report {
    rows: usize,
    pairs: usize,
    figures: Vec<Value>,
}

impl Report {
    pub(crate) fn new(rows: usize, pairs: usize) -> Self {
        Self { rows, pairs, figures: vec![] }
    }

    pub(crate) fn add(&mut self, what: &str, value: f64, unit: &str, target: Option<&str>) {
        println!("{what:<56} {:>12} {unit:<7} {}", shown(value), target.unwrap_or(""));
        self.figures.push(json!({ "what": what, "value": value, "unit": unit, "target": target }));
    }

    pub(crate) fn finish(&self) -> Result<()> {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        std::fs::create_dir_all(&directory)?;
        let report = json!({ "rows": self.rows, "pairs": self.pairs, "figures": self.figures });
        std::fs::write(directory.join("core.json"), format!("{report:#}\n"))?;
        println!("\n| what | measured | target |\n|---|---|---|");
        for figure in &self.figures {
            println!(
                "| {} | {} {} | {} |",
                figure["what"].as_str().unwrap_or(""),
                shown(figure["value"].as_f64().unwrap_or(f64::NAN)),
                figure["unit"].as_str().unwrap_or(""),
                figure["target"].as_str().unwrap_or("")
            );
        }
        Ok(())
    }
}

fn shown(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
