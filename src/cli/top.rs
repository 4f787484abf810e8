//! `relay top`.

use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{
    columns::Palette,
    display::Display,
    listener::Asker,
    screen::{Act, Screen, Title},
    source::{Place, Reading, Source},
};
use super::{
    Exit, Failure, Sources,
    exit::{print, runtime},
};
use crate::config::Needs;

mod columns;
mod display;
mod history;
mod listener;
mod lists;
mod screen;
mod source;
#[cfg(test)]
mod tests;
mod view;

/// How often may be read.
const OFTENEST: Duration = Duration::from_millis(200);
const SELDOMEST: Duration = Duration::from_secs(3600);
/// How often is drawn when nothing happens: what is stale grows older.
const TICK: Duration = Duration::from_secs(1);

/// Watch an outbox on the terminal: lag, rates, backlog, lanes and owners, held and hot keys, retries, dead rows, pauses.
///
/// It reads the database, over one connection, whether or not a relay lives, and changes nothing. Rates are differences between
/// two readings.
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: q quits, p freezes what is shown, tab or 1 to 4 take another view, arrows scroll, o takes the \
                        next outbox, ? explains. NO_COLOR is respected.\n\n\
                        Circuit breakers and links to the broker are known to no database; for these, name the admin \
                        listeners of relays, each by an --ask."
)]
pub(super) struct Top {
    /// Time from one reading to the next.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Print everything once, as text, and end: no terminal is needed. It reads twice, --every apart, for the rates
    #[arg(long)]
    once: bool,
    /// Ask this relay's admin listener as well, such as http://127.0.0.1:9630; may be repeated
    #[arg(long, value_name = "URL")]
    ask: Vec<String>,
}

impl Top {
    pub(super) fn run(&self, sources: &Sources) -> Result<Exit, Failure> {
        if !(OFTENEST..=SELDOMEST).contains(&self.every) {
            return Err(Failure::Usage("--every: expected 200ms to 1h".to_owned()));
        }
        if !self.once && !display::is_there() {
            return Err(Failure::Usage(
                "there is no terminal to draw on: `relay top --once` prints the same as text, `relay status` the \
                 main figures as a table or JSON"
                    .to_owned(),
            ));
        }
        let asker = Asker::of(&self.ask)?;
        let outboxes = sources.load_all(Needs { database: true, amqp: false })?;
        let places =
            outboxes.iter().map(|loaded| Place::of(&loaded.config)).collect::<Result<Vec<_>, _>>()?;
        let runtime = runtime()?;
        if self.once {
            runtime.block_on(self.print(&places, &asker))?;
        } else {
            runtime.block_on(self.watch(&places, &asker))?;
        }
        Ok(Exit::Ok)
    }

    fn source(&self, place: &Place, asker: &Asker) -> Source {
        Source::new(place.clone(), self.every, asker.clone())
    }

    async fn print(&self, places: &[Place], asker: &Asker) -> Result<(), Failure> {
        let mut text = String::new();
        for place in places {
            let mut source = self.source(place, asker);
            let mut screen = Screen::new(vec![title(place)], self.every, Palette { colour: false });
            for _ in 0..2 {
                let Reading { sample, asked } = source.next().await;
                screen.read(sample?, asked);
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&screen.text(display::width()));
        }
        print(&text);
        Ok(())
    }

    async fn watch(&self, places: &[Place], asker: &Asker) -> Result<(), Failure> {
        let mut ended = Ended::new()?;
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut screen = Screen::new(places.iter().map(title).collect(), self.every, Palette { colour });
        let Some(first) = places.first() else { return Ok(()) };
        let mut source = self.source(first, asker);
        // What is wrong from the start is better told than drawn.
        let mut read = tokio::select! {
            Reading { sample, asked } = source.next() => {
                screen.read(sample?, asked);
                Instant::now()
            }
            () = ended.wait() => return Ok(()),
        };
        let mut display = Display::open()?;
        loop {
            // A reading, or the outbox to go on with.
            let next: Result<Reading, usize> = {
                let mut reading = Box::pin(source.next());
                loop {
                    display.draw(&mut screen, read.elapsed())?;
                    tokio::select! {
                        done = &mut reading => break Ok(done),
                        press = display.next() => match press?.map_or(Act::Nothing, |press| screen.press(press)) {
                            Act::Nothing => {}
                            Act::Quit => return Ok(()),
                            Act::Outbox(outbox) => break Err(outbox),
                        },
                        () = ended.wait() => return Ok(()),
                        () = tokio::time::sleep(TICK) => {}
                    }
                }
            };
            match next {
                Ok(Reading { sample: Ok(sample), asked }) => {
                    screen.read(sample, asked);
                    read = Instant::now();
                }
                Ok(Reading { sample: Err(error), asked }) => screen.failed(error.with_cure(), asked),
                Err(outbox) => source = self.source(places.get(outbox).unwrap_or(first), asker),
            }
        }
    }
}

fn title(place: &Place) -> Title {
    Title { outbox: place.name.clone(), server: place.server.clone(), old_transaction: place.old_transaction }
}

/// Signals that end it. The terminal is given back first.
struct Ended([Signal; 3]);

impl Ended {
    fn new() -> Result<Self, Failure> {
        let wait = |kind| {
            signal(kind).map_err(|source| Failure::Io { what: "cannot wait for signals".to_owned(), source })
        };
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(wait);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
