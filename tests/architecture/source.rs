//! The source, read as text: what a line names is what it depends on. Comments and the tests inside a module do not count.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder of the repository with this extension, with its path relative to the folder.
pub fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                walk(&path, extension, found);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    let base = root().join(folder);
    let mut found = Vec::new();
    walk(&base, extension, &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} holds no .{extension} file: nothing would be tested");
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let name = path.strip_prefix(&base).expect("it is below").display().to_string();
            (name, text)
        })
        .collect()
}

/// The code: without the module's tests, comments and use of a name in a string is let be.
fn code(text: &str) -> Vec<(usize, String)> {
    let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

/// `use crate::{a, b::c}` names `crate::a` and `crate::b::c`, as far as the first segment goes.
pub fn spelled_out(text: &str) -> Vec<(usize, String)> {
    let lines = code(text);
    let mut named = lines.clone();
    let mut depth: Option<i32> = None;
    for (number, line) in lines {
        let trimmed = line.trim();
        let rest = match depth {
            None if trimmed.contains("use crate::{") => {
                depth = Some(0);
                trimmed.split_once("use crate::{").map_or("", |(_, rest)| rest)
            }
            None => continue,
            Some(_) => trimmed,
        };
        let mut level = depth.unwrap_or(0);
        let mut word = String::new();
        for letter in rest.chars() {
            match letter {
                '{' => level += 1,
                '}' => level -= 1,
                _ => {}
            }
            if level < 0 {
                break;
            }
            if level == 0 && (letter.is_alphanumeric() || letter == '_' || letter == ':') {
                word.push(letter);
            } else if !word.is_empty() {
                named.push((number, format!("crate::{}", std::mem::take(&mut word))));
            }
        }
        if !word.is_empty() {
            named.push((number, format!("crate::{word}")));
        }
        depth = (level >= 0).then_some(level);
    }
    named
}

/// Whether a line names this, as a whole word.
pub fn names(line: &str, what: &str) -> bool {
    let inside =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    line.match_indices(what).any(|(at, _)| {
        !inside(line[..at].chars().next_back()) && !inside(line[at + what.len()..].chars().next())
    })
}

pub fn is_within(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| *place == "." || file == *place || file.starts_with(&format!("{place}/")))
}
