//! The terminal: taken over, drawn on, read from, and given back as it was, however this ends.

use std::{
    io::{self, IsTerminal, Stdout},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use crossterm::{
    cursor::Show,
    event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    execute,
    terminal::{
        Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
    },
};
use futures_util::StreamExt;
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::CrosstermBackend;

use super::screen::{Press, Screen, View};
use crate::cli::Failure;

/// Whether the terminal is ours at this moment.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Columns of text for whoever has no terminal.
const COLUMNS: u16 = 110;

/// How wide text may be.
pub(super) fn width() -> usize {
    let wide = if io::stdout().is_terminal() { size().ok().map(|(columns, _)| columns) } else { None };
    usize::from(wide.filter(|columns| *columns > 0).unwrap_or(COLUMNS))
}

/// Whether there is a terminal that can be drawn on and read from.
pub(super) fn is_there() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !dumb
}

/// Gives the terminal back, if it is ours.
fn give_back() {
    if TAKEN.swap(false, SeqCst) {
        // There is nobody left to tell.
        let _ = disable_raw_mode();
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    }
}

/// Has a panic give the terminal back first, or nobody would ever read what it says.
fn expect_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            told(panic);
        }));
    });
}

/// A terminal that is ours until this is dropped.
pub(super) struct Display {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    events: EventStream,
}

impl Drop for Display {
    fn drop(&mut self) {
        give_back();
    }
}

impl Display {
    /// Takes the terminal over.
    pub(super) fn open() -> Result<Self, Failure> {
        expect_panics();
        let failed = |source| Failure::Io { what: "cannot draw on the terminal".to_owned(), source };
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).map_err(failed)?;
        TAKEN.store(true, SeqCst);
        let display = Self { terminal, events: EventStream::new() };
        enable_raw_mode().map_err(failed)?;
        // Not by the library, which would ask where the cursor is and wait for an answer.
        execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All)).map_err(failed)?;
        Ok(display)
    }

    /// Draws the screen, in whatever size the terminal has by now; `age` is for [`Screen::draw`].
    pub(super) fn draw(&mut self, screen: &mut Screen, age: Duration) -> Result<(), Failure> {
        if !TAKEN.load(SeqCst) {
            // A task panicked, told so, and gave it back.
            return Err(Failure::Failed("the view ended with a panic".to_owned()));
        }
        let drawn = self.terminal.draw(|frame| screen.draw(frame.area(), frame.buffer_mut(), age));
        drawn
            .map(drop)
            .map_err(|source| Failure::Io { what: "cannot draw on the terminal".to_owned(), source })
    }

    /// Waits for the next key; none when something else happened, such as another size.
    pub(super) async fn next(&mut self) -> Result<Option<Press>, Failure> {
        let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let event = self.events.next().await.unwrap_or_else(|| Err(gone()));
        let what = || "cannot read from the terminal".to_owned();
        match event.map_err(|source| Failure::Io { what: what(), source })? {
            Event::Key(key) if key.kind != KeyEventKind::Release => Ok(press(key)),
            _ => Ok(None),
        }
    }
}

/// What a key means.
fn press(key: KeyEvent) -> Option<Press> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Press::Quit);
    }
    Some(match key.code {
        KeyCode::Char('q' | 'Q') => Press::Quit,
        KeyCode::Char('p' | ' ') => Press::Freeze,
        KeyCode::Char('?' | 'h') => Press::Help,
        KeyCode::Char('o') => Press::Outbox,
        KeyCode::Char('j') | KeyCode::Down => Press::Down,
        KeyCode::Char('k') | KeyCode::Up => Press::Up,
        KeyCode::Char(digit @ '1'..='4') => {
            let place = usize::try_from(u32::from(digit) - u32::from('1')).ok()?;
            Press::View(*View::ALL.get(place)?)
        }
        KeyCode::Tab | KeyCode::Right => Press::Next,
        KeyCode::BackTab | KeyCode::Left => Press::Previous,
        KeyCode::PageUp => Press::PageUp,
        KeyCode::PageDown => Press::PageDown,
        KeyCode::Home => Press::Top,
        KeyCode::End => Press::Bottom,
        KeyCode::Esc => Press::Back,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Set for the process that is to panic.
    const PANIC: &str = "RELAY_DEV_PANIC";

    #[test]
    fn on_a_terminal_of_its_own_it_panics_for_the_test_below() {
        if std::env::var_os(PANIC).is_some() {
            let _display = Display::open().unwrap();
            panic!("oh dear");
        }
    }

    #[test]
    fn a_panic_is_told_on_a_terminal_that_is_as_it_was_before() {
        let this = std::env::current_exe().unwrap();
        let test = "cli::top::display::tests::on_a_terminal_of_its_own_it_panics_for_the_test_below";
        let command = format!("'{}' --exact {test} --nocapture; stty -a", this.display());
        let output = Command::new("script")
            .args(["--quiet", "--command", &command, "/dev/null"])
            .env(PANIC, "1")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text:?}"));
        assert!(place("\u{1b}[?1049h") < place("\u{1b}[?1049l"), "the screen was taken and given back");
        assert!(place("\u{1b}[?1049l") < place("oh dear"), "before anything is said: {text:?}");
        assert!(place("\u{1b}[?25h") < place("oh dear"), "with a cursor");
        assert!(text.contains(" icanon") && !text.contains("-icanon") && !text.contains("-echo "), "{text}");
    }

    #[test]
    fn keys_mean_what_the_help_says() {
        let plain = |code| press(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(plain(KeyCode::Char('q')), Some(Press::Quit));
        assert_eq!(plain(KeyCode::Char('3')), Some(Press::View(View::Rows)));
        assert_eq!((plain(KeyCode::Char('5')), plain(KeyCode::Char('0'))), (None, None));
        assert_eq!(plain(KeyCode::Char('c')), None);
        let control = |code| press(KeyEvent::new(code, KeyModifiers::CONTROL));
        assert_eq!((control(KeyCode::Char('c')), control(KeyCode::Char('q'))), (Some(Press::Quit), None));
    }
}
