//! What is shown, on a terminal in memory.

use std::time::Duration;

use ratatui_core::{backend::TestBackend, buffer::Buffer, style::Color, terminal::Terminal};
use uuid::Uuid;

use super::{
    columns::Palette,
    history::{Curve, History},
    listener::{Asked, Breaker, Says},
    screen::{Act, Press, Screen, Title, View},
};
use crate::{
    operator::{
        dead::DeadRow,
        sample::{Change, HotKey, Retrying, Sample},
        status::{HeldKey, Relay, Status},
    },
    outbox::{backlog::Backlog, pauses::Pause},
    pause::Target,
};

const AT: i64 = 1_800_000_000_000_000;

/// An outbox with some of everything.
fn sample() -> Sample {
    let backlog = Backlog {
        pending: [10_000, 3, 4],
        dead: 1,
        held_keys: 2,
        oldest_age: 192.0,
        oldest_ready_age: 5.0,
        oldest_dead_age: 3600.0,
        oldest_held_age: 90.0,
        first_ready: Some(7),
    };
    let relay = Relay {
        id: Uuid::from_u128(1),
        name: "host-a:4711".to_owned(),
        version: "0.1.0".to_owned(),
        started_us: AT,
        seen_ago: 1.2,
        lanes: (0..16).collect(),
        lease_left: Some(8.0),
    };
    let key = HeldKey {
        aggregate_type: "order".to_owned(),
        aggregate_id: "42".to_owned(),
        head_seq: 17,
        reason: "retrying".to_owned(),
        paused_by: None,
        due_in: Some(12.0),
        held_for: 90.0,
        error: Some("312 NO_ROUTE".to_owned()),
    };
    let pause = Pause {
        id: 3,
        target: Target::Route { exchange: "outbox.events".to_owned(), routing_key: "order.#".to_owned() },
        since_us: AT - 60_000_000,
        actor: "eve@host".to_owned(),
        note: Some("broker upgrade".to_owned()),
    };
    let dead = DeadRow {
        seq: 99,
        generation: 0,
        event_id: Uuid::from_u128(2),
        aggregate_type: "order".to_owned(),
        aggregate_id: "\u{1b}[2J".to_owned(),
        event_type: "placed".to_owned(),
        reason: "unroutable".to_owned(),
        attempts: 8,
        replays: 0,
        created_us: AT - 3_700_000_000,
        dead_us: AT - 3_600_000_000,
        error: "no queue is bound".to_owned(),
    };
    Sample {
        at_us: AT,
        status: Status {
            backlog,
            cleanup: None,
            pauses: vec![pause],
            keys: vec![key],
            relays: vec![relay],
            unowned: (16..32).collect(),
            lanes: 32,
        },
        change: Some(Change { seconds: 2.0, added: 2400, published: 1800, more_published: false, died: 1 }),
        dead_by_reason: vec![("unroutable".to_owned(), 1)],
        dead: vec![dead],
        retrying: vec![Retrying {
            seq: 17,
            aggregate_type: "order".to_owned(),
            aggregate_id: "42".to_owned(),
            event_type: "placed".to_owned(),
            attempts: 2,
            due_in: 12.0,
            failing_for: 80.0,
            error: "312 NO_ROUTE".to_owned(),
        }],
        retrying_rows: 3,
        hot: vec![HotKey {
            aggregate_type: "tenant".to_owned(),
            aggregate_id: "7".to_owned(),
            ready: 900,
            held: 0,
        }],
    }
}

/// Nothing happens, and nothing is wrong.
fn quiet() -> Sample {
    let mut sample = sample();
    sample.status.backlog = Backlog {
        pending: [0; 3],
        dead: 0,
        held_keys: 0,
        oldest_age: 0.0,
        oldest_ready_age: 0.0,
        oldest_dead_age: 0.0,
        oldest_held_age: 0.0,
        first_ready: None,
    };
    sample.status.relays[0].lanes = (0..32).collect();
    sample.status.unowned.clear();
    sample.status.pauses.clear();
    sample.status.keys.clear();
    sample.change = Some(Change { seconds: 2.0, added: 0, published: 0, more_published: false, died: 0 });
    (sample.dead_by_reason, sample.dead) = (Vec::new(), Vec::new());
    (sample.retrying, sample.retrying_rows, sample.hot) = (Vec::new(), 0, Vec::new());
    sample
}

fn screen(outboxes: usize, colour: bool) -> Screen {
    let title = |number: usize| Title {
        outbox: format!("outbox-{number}"),
        server: "localhost:5432/shop".to_owned(),
        old_transaction: Duration::from_secs(300),
    };
    Screen::new((1..=outboxes).map(title).collect(), Duration::from_secs(2), Palette { colour })
}

fn showing(sample: Sample) -> Screen {
    let mut screen = screen(1, false);
    screen.read(sample, Vec::new());
    screen
}

fn drawn(screen: &mut Screen, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let age = Duration::from_secs(12);
    terminal.draw(|frame| screen.draw(frame.area(), frame.buffer_mut(), age)).unwrap();
    terminal.backend().buffer().clone()
}

/// What is to be seen, line by line.
fn text(screen: &mut Screen, width: u16, height: u16) -> String {
    let buffer = drawn(screen, width, height);
    let mut text = String::new();
    for row in 0..height {
        let line: String = (0..width).map(|column| buffer[(column, row)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[track_caller]
fn assert_shows(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn the_overview_begins_with_what_stands_out_and_has_something_of_everything() {
    let mut screen = showing(sample());
    let text = text(&mut screen, 120, 45);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[2].contains("no relay holds 16 of 32 lanes"), "{text}");
    assert_shows(
        &text,
        &[
            "relay top  outbox-1  2027-01-15T08:00:00Z  localhost:5432/shop",
            "lag         3m 12s",
            "backlog     ready 10000 or more  waiting 3  held 4",
            "added       1200/s",
            "published   900/s",
            "dead        1  unroutable 1  since 1h  dying 0.5/s",
            "retrying    3  next in 12s",
            "held keys   2  behind a failed row for 1m 30s",
            "lanes       16 of 32 held, by 1 relays",
            "breaker     not in the database: --ask URL asks a relay",
            "host-a:4711     16  1s 200ms ago  8s",
            "eve@host  broker upgrade",
            "order/42  retrying  1m 30s  12s",
            "unroutable  1h ago",
            "no queue is bound",
            "q quit",
        ],
    );
    assert!(!text.contains('\u{1b}') && text.contains("order/\u{fffd}[2J"), "{text}");
}

#[test]
fn every_view_has_its_lists_and_a_letter_for_each_owner() {
    let mut screen = showing(sample());
    for (view, parts) in [
        (View::Keys, ["HELD KEY", "order/42", "HOT KEY", "tenant/7"]),
        (View::Rows, ["RETRIED", "the first 1 of 3 rows that are retried", "DEAD", "unroutable"]),
        (View::Relays, ["RELAY", "aaaaaaaaaaaaaaaa................", "a host-a:4711", ". nobody"]),
    ] {
        assert_eq!(screen.press(Press::View(view)), Act::Nothing);
        assert_shows(&text(&mut screen, 100, 40), &parts);
    }
    assert_eq!(screen.press(Press::Next), Act::Nothing);
    assert_shows(&text(&mut screen, 100, 40), &["lag "]);
    screen.press(Press::Previous);
    assert_shows(&text(&mut screen, 100, 40), &["LANES"]);
    // All of them at once, where nobody can press anything.
    assert_shows(&screen.text(100), &["OVERVIEW", "HOT KEY", "RETRIED", "LANES", "lag  "]);
}

#[test]
fn any_size_will_do() {
    let mut screen = showing(sample());
    for view in View::ALL {
        screen.press(Press::View(view));
        for width in [1, 2, 9, 20, 40, 79, 200] {
            for height in [1, 2, 3, 4, 24, 90] {
                drawn(&mut screen, width, height);
            }
        }
    }
    screen.press(Press::View(View::Overview));
    let narrow = text(&mut screen, 40, 24);
    assert_shows(&narrow, &["1 over", "lag         3m 12s", "added       1200/s", "host-a:4711"]);
    assert!(!narrow.contains("localhost"), "{narrow}");
    screen.press(Press::Bottom);
    assert_shows(&text(&mut screen, 40, 24), &["unroutable"]);
}

#[test]
fn scrolling_ends_where_the_lines_do_and_a_larger_terminal_shows_them_all() {
    let mut screen = showing(sample());
    let top = text(&mut screen, 100, 10);
    assert_shows(&top, &["1-7 of "]);
    screen.press(Press::Up);
    assert_eq!(text(&mut screen, 100, 10), top);
    screen.press(Press::PageDown);
    assert_shows(&text(&mut screen, 100, 10), &["8-14 of "]);
    for _ in 0..1000 {
        screen.press(Press::Down);
    }
    let bottom = text(&mut screen, 100, 10);
    assert_shows(&bottom, &["no queue is bound"]);
    screen.press(Press::Top);
    screen.press(Press::Bottom);
    assert_eq!(text(&mut screen, 100, 10), bottom);
    assert_shows(&text(&mut screen, 100, 60), &["no relay holds", "no queue is bound"]);
}

#[test]
fn what_is_frozen_stays_while_reading_goes_on() {
    let mut screen = showing(sample());
    screen.press(Press::Freeze);
    let frozen = text(&mut screen, 120, 45);
    assert_shows(&frozen, &["FROZEN", "p go on"]);
    screen.read(quiet(), Vec::new());
    screen.failed("cannot connect".to_owned(), Vec::new());
    assert_eq!(text(&mut screen, 120, 45), frozen);
    screen.press(Press::View(View::Rows));
    assert_shows(&text(&mut screen, 120, 45), &["unroutable"]);
    screen.press(Press::Freeze);
    assert_shows(&text(&mut screen, 120, 45), &["STALE for 12s", "! cannot connect", "no dead rows"]);
}

#[test]
fn a_database_that_is_away_leaves_what_was_seen_and_says_since_when() {
    let mut screen = screen(1, false);
    assert_shows(&text(&mut screen, 80, 24), &["reading …"]);
    screen.failed("cannot connect to Postgres".to_owned(), Vec::new());
    assert_shows(&text(&mut screen, 80, 24), &["cannot connect to Postgres"]);
    screen.read(sample(), Vec::new());
    screen.failed("cannot connect to Postgres".to_owned(), Vec::new());
    assert_shows(
        &text(&mut screen, 80, 24),
        &["STALE for 12s", "! cannot connect to Postgres", "lag         3m 12s"],
    );
    screen.read(quiet(), Vec::new());
    assert!(!text(&mut screen, 80, 24).contains("STALE"));
}

#[test]
fn without_relays_that_is_the_first_thing_said_and_without_trouble_nothing_is() {
    let mut dead = quiet();
    dead.status.unowned = (0..32).collect();
    dead.status.relays[0].lanes.clear();
    dead.status.relays[0].seen_ago = 200.0;
    let said = text(&mut showing(dead), 120, 40);
    assert_shows(
        &said,
        &["no relay lives, so nothing is published: host-a:4711 was last heard of 3m 20s ago"],
    );
    let well = text(&mut showing(quiet()), 120, 40);
    assert_shows(&well, &["nothing stands out", "lag         0s", "published   0/s", "paused      nothing"]);
}

#[test]
fn rows_that_do_not_go_out_are_pointed_at_unless_everything_is_paused() {
    let mut still = quiet();
    still.status.backlog.oldest_ready_age = 60.0;
    let mut screen = screen(1, false);
    (0..4).for_each(|_| screen.read(still.clone(), Vec::new()));
    assert_shows(&text(&mut screen, 120, 40), &["nothing stands out"]);
    screen.read(still.clone(), Vec::new());
    assert_shows(&text(&mut screen, 120, 40), &["rows are due, and none was seen to go out for 10s"]);
    let mut paused = still.clone();
    paused.status.pauses = sample().status.pauses;
    paused.status.pauses[0].target = Target::All;
    screen.read(paused, Vec::new());
    let said = text(&mut screen, 120, 40);
    assert!(said.contains("everything is paused, by eve@host") && !said.contains("go out"), "{said}");
    let mut moving = still;
    moving.change = Some(Change { seconds: 2.0, added: 0, published: 1, more_published: true, died: 0 });
    screen.read(moving, Vec::new());
    assert_shows(&text(&mut screen, 120, 40), &["published   more than 0.5/s", "nothing stands out"]);
}

#[test]
fn what_relays_say_of_their_breakers_is_shown_and_who_says_nothing_is_named() {
    let says = |breaker| Says { breaker: Some(breaker), connected: Some(true), ..Says::default() };
    let asked = |whom: &str, answer| Asked { whom: whom.to_owned(), answer };
    let mut screen = screen(1, false);
    screen.read(quiet(), vec![asked("a:9630", Ok(says(Breaker::Closed)))]);
    assert_shows(&text(&mut screen, 120, 40), &["breaker     closed", "nothing stands out"]);
    let answers =
        vec![asked("a:9630", Ok(says(Breaker::Open))), asked("b:9630", Err("connection refused".to_owned()))];
    screen.read(quiet(), answers);
    let said = text(&mut screen, 120, 40);
    assert_shows(
        &said,
        &["breaker     open", "a:9630: its circuit to the broker is open", "b:9630: connection refused"],
    );
    screen.press(Press::View(View::Relays));
    assert_shows(&text(&mut screen, 120, 40), &["a:9630  open", "no answer"]);
}

#[test]
fn help_explains_the_keys_and_goes_away_and_quitting_is_asked_for() {
    let mut screen = showing(quiet());
    screen.press(Press::Help);
    assert_shows(&text(&mut screen, 110, 30), &["freeze what is shown", "next outbox", "? help"]);
    assert_eq!(screen.press(Press::Back), Act::Nothing);
    assert_shows(&text(&mut screen, 110, 30), &["lag  "]);
    assert_eq!(screen.press(Press::Outbox), Act::Nothing, "there is no other");
    assert_eq!((screen.press(Press::Back), screen.press(Press::Quit)), (Act::Quit, Act::Quit));
}

#[test]
fn another_outbox_begins_anew() {
    let mut screen = screen(2, false);
    screen.read(sample(), Vec::new());
    assert_shows(&text(&mut screen, 110, 30), &["outbox-1 (1 of 2)", "o outbox"]);
    assert_eq!(screen.press(Press::Outbox), Act::Outbox(1));
    assert_shows(&text(&mut screen, 110, 30), &["outbox-2 (2 of 2)", "reading …"]);
    assert_eq!(screen.press(Press::Outbox), Act::Outbox(0));
}

#[test]
fn colours_are_only_used_when_wanted() {
    for colour in [false, true] {
        let mut screen = screen(1, colour);
        screen.read(sample(), Vec::new());
        let buffer = drawn(&mut screen, 120, 45);
        let coloured = buffer.content.iter().any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset));
        assert_eq!(coloured, colour);
    }
}

#[test]
fn curves_keep_the_newest_points_in_proportion_to_the_highest() {
    let mut history = History::default();
    let mut sample = sample();
    assert_eq!(history.bars(Curve::Lag, 3), "   ");
    sample.change = None;
    for lag in [0.0, 5.0, 10.0] {
        sample.status.backlog.oldest_age = lag;
        history.push(&sample);
    }
    assert_eq!(history.bars(Curve::Lag, 5), "  ▁▅█");
    assert_eq!(history.bars(Curve::Lag, 2), "▅█");
    assert_eq!(history.bars(Curve::Published, 3), "   ", "nothing is known yet");
    (0..1000).for_each(|_| history.push(&sample));
    assert_eq!(history.bars(Curve::Lag, 1000).trim_start().chars().count(), 240);
}
