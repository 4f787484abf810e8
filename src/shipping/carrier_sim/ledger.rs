//! The ledger on disk: a file of JSON lines, appended and synced before anybody is answered, read again at the start.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::book::{Book, Contradiction, Entry};

/// A ledger that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Reading or writing failed.
    #[error("cannot {what} the ledger {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the ledger {0} is in use by another process; stop it, or choose another file")]
    InUse(PathBuf),
    /// A line other than the last is no entry, or can't follow those before it.
    #[error("line {line} of the ledger {path} is not usable: {reason}; repair it, or choose another file")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// The entry can't follow those before it.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
}

/// The file, and what it adds up to.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    /// Bytes that are whole entries.
    length: u64,
    book: Book,
}

impl Ledger {
    /// Opens or creates a ledger, and takes it for this process alone. What a crash left of the last line was never
    /// answered for, and is cut off.
    ///
    /// # Errors
    /// When it can't be read, is in use, or holds something else.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = |what| move |source| LedgerError::Io { what, path: path.to_owned(), source };
        let file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed("open"))?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => LedgerError::InUse(path.to_owned()),
            std::fs::TryLockError::Error(source) => failed("lock")(source),
        })?;
        let mut ledger = Self { path: path.to_owned(), file, length: 0, book: Book::default() };
        let mut lines = BufReader::new(&ledger.file);
        let (mut text, mut line) = (Vec::new(), 0);
        while lines.read_until(b'\n', &mut text).map_err(failed("read"))? > 0 {
            line += 1;
            if text.last() != Some(&b'\n') {
                break;
            }
            let bad = |reason: String| LedgerError::Line { path: path.to_owned(), line, reason };
            let entry = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
            ledger.book.apply(&entry).map_err(|error| bad(error.to_string()))?;
            ledger.length += text.len() as u64;
            text.clear();
        }
        ledger.file.set_len(ledger.length).map_err(failed("cut"))?;
        Ok(ledger)
    }

    /// What it adds up to.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Adds an entry; it is on disk when this returns.
    ///
    /// # Errors
    /// When it can't be written or does not fit; it is then not in the ledger.
    pub fn append(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        self.book.apply(entry)?;
        if let Err(source) = self.write(entry) {
            // The book is ahead of the file now, so it is read again.
            let path = self.path.clone();
            self.file
                .set_len(self.length)
                .and_then(|()| self.reread())
                .map_err(|source| LedgerError::Io { what: "repair", path: path.clone(), source })?;
            return Err(LedgerError::Io { what: "write to", path, source });
        }
        Ok(())
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn reread(&mut self) -> io::Result<()> {
        self.book = Book::default();
        self.file.seek(SeekFrom::Start(0))?;
        for line in BufReader::new(&self.file).lines() {
            let entry = serde_json::from_str(&line?)?;
            self.book.apply(&entry).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::shipping::carrier_sim::book::Offer;

    fn created(id: &str) -> Entry {
        let rates = vec![Offer { id: format!("rate_{id}"), service: "Ground".into(), cents: 593 }];
        Entry::Created {
            at: 1,
            id: id.into(),
            reference: Some("r".into()),
            request: json!({"w": 15.4}),
            rates,
        }
    }

    fn bought(id: &str) -> Entry {
        let (rate_id, tracking_code, tracker_id) = (format!("rate_{id}"), "9400".into(), "trk_1".into());
        Entry::Bought { at: 2, id: id.into(), rate_id, tracking_code, tracker_id }
    }

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ledger-{}-{name}.jsonl", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn what_was_appended_is_there_again_and_half_a_line_is_not() {
        let path = path("torn");
        let mut ledger = Ledger::open(&path).expect("a new one");
        for entry in [created("shp_1"), created("shp_2"), bought("shp_1")] {
            ledger.append(&entry).expect("it fits");
        }
        let (before, whole) = (ledger.book().summary(), std::fs::read(&path).expect("it is a file"));
        drop(ledger);
        let last =
            whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("several lines") + 1;
        for cut in [whole.len(), whole.len() - 1, last + 1, last] {
            std::fs::write(&path, &whole[..cut]).expect("it is ours");
            let mut ledger = Ledger::open(&path).expect("a torn end is no harm");
            if cut < whole.len() {
                assert_eq!(ledger.book().summary()["counts"]["bought"], 0, "cut at {cut}");
                ledger.append(&bought("shp_1")).expect("it may be sold now");
            }
            drop(ledger);
            let ledger = Ledger::open(&path).expect("it was repaired");
            assert_eq!(ledger.book().summary(), before, "cut at {cut}");
        }
        let _ = std::fs::remove_file(&path);
    }

    #[test]
    fn a_shipment_is_not_sold_twice_and_the_file_does_not_say_so() {
        let path = path("twice");
        let mut ledger = Ledger::open(&path).expect("a new one");
        ledger.append(&created("shp_1")).expect("it fits");
        ledger.append(&bought("shp_1")).expect("it fits");
        let before = std::fs::read(&path).expect("it is a file");
        assert!(ledger.append(&bought("shp_1")).is_err());
        assert!(ledger.append(&bought("shp_2")).is_err());
        assert!(ledger.append(&created("shp_1")).is_err());
        assert_eq!(std::fs::read(&path).expect("it is a file"), before);
        let _ = std::fs::remove_file(&path);
    }

    #[test]
    fn a_ledger_that_is_in_use_or_is_none_is_refused() {
        let path = path("used");
        let ledger = Ledger::open(&path).expect("a new one");
        assert!(matches!(Ledger::open(&path), Err(LedgerError::InUse(_))));
        drop(ledger);
        std::fs::write(&path, "{}\n{}\n").expect("it is ours");
        assert!(matches!(Ledger::open(&path), Err(LedgerError::Line { line: 1, .. })));
        let _ = std::fs::remove_file(&path);
    }
}
