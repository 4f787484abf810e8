//! A terminal: a real pseudo-terminal with a program on it, and what one would see there.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{LocalModes, OutputModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::wait;

/// What a terminal does by itself: echo, lines, line ends.
type Modes = (LocalModes, OutputModes);

/// A terminal with a program on it, which is killed when this is dropped.
pub struct Terminal {
    keys: File,
    /// Kept open, or nobody could look at the terminal after its program.
    side: OwnedFd,
    child: Child,
    seen: Arc<Mutex<vt100::Parser>>,
    before: Modes,
}

impl Terminal {
    /// Runs `relay ARGS` on a terminal of so many rows and columns, with this environment alone.
    pub fn run(args: &[&str], env: &[(&str, &str)], rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let main = openpt(flags).expect("there are pseudo-terminals");
        grantpt(&main).and_then(|()| unlockpt(&main)).expect("it is ours");
        let side = ioctl_tiocgptpeer(&main, flags).expect("it has another side");
        tcsetwinsize(&main, size(rows, columns)).expect("it has a size");
        let before = modes(&side);
        let of = || Stdio::from(side.try_clone().expect("there are descriptors left"));
        // As a shell would: with a session of its own, whose terminal this is.
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_relay")])
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TERM", "xterm-256color")
            .envs(env.iter().copied())
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdin(of())
            .stdout(of())
            .stderr(of())
            .spawn()
            .expect("there is a setsid");
        let seen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let keys = File::from(main);
        let mut output = keys.try_clone().expect("there are descriptors left");
        std::thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let mut some = [0; 4096];
                while let Ok(count @ 1..) = output.read(&mut some) {
                    seen.lock().expect("nobody panics with it").process(&some[..count]);
                }
            }
        });
        Self { keys, side, child, seen, before }
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("it takes keys");
    }

    /// Gives it another size, as a window manager would; the program is told by a signal.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.seen.lock().expect("nobody panics with it").screen_mut().set_size(rows, columns);
        tcsetwinsize(&self.keys, size(rows, columns)).expect("it has a size");
    }

    /// What is to be seen.
    pub fn text(&self) -> String {
        self.seen.lock().expect("nobody panics with it").screen().contents()
    }

    /// Whether anything is to be seen in a colour.
    pub fn has_colours(&self) -> bool {
        let seen = self.seen.lock().expect("nobody panics with it");
        let screen = seen.screen();
        let (rows, columns) = screen.size();
        let mut cells =
            (0..rows).flat_map(|row| (0..columns).filter_map(move |column| screen.cell(row, column)));
        cells.any(|cell| (cell.fgcolor(), cell.bgcolor()) != (vt100::Color::Default, vt100::Color::Default))
    }

    /// Waits until all of this is to be seen.
    pub async fn wait_text(&self, parts: &[&str]) {
        let sees = async || {
            let text = self.text();
            parts.iter().all(|part| text.contains(part))
        };
        wait::until(&format!("the terminal shows {parts:?}"), wait::LONG, sees).await;
    }

    /// Sends its program a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let kill = ["-c", "kill -s \"$1\" \"$2\"", "-", name, &self.child.id().to_string()];
        assert!(Command::new("bash").args(kill).status().expect("there is a bash").success());
    }

    /// Waits until its program ends.
    pub async fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait::found("the program's end", wait::LONG, async || child.try_wait().expect("it can be asked"))
            .await
    }

    /// It is as it was before: its modes, its screen, its cursor.
    pub async fn assert_given_back(&self) {
        assert_eq!(modes(&self.side), self.before, "the terminal's modes");
        // What was written last may not have been read yet.
        wait::until("the cursor is back on the first screen", wait::LONG, async || {
            let seen = self.seen.lock().expect("nobody panics with it");
            !seen.screen().alternate_screen() && !seen.screen().hide_cursor()
        })
        .await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- on the terminal\n{}", self.text());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn modes(side: &OwnedFd) -> Modes {
    let settings = tcgetattr(side).expect("it is a terminal");
    (settings.local_modes, settings.output_modes)
}
