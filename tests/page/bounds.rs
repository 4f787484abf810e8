//! Whatever is asked of the page, it is bounded, and publishing goes on.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use crate::{
    client::{Answer, Client, OPERATE, OUTBOX, operated},
    rig::Rig,
    support::{servers, stopped::Stopped, wait},
};

/// Asks so often at once.
async fn at_once(client: &Client, path: &str, times: usize) -> Vec<Answer> {
    let asked: Vec<_> = (0..times)
        .map(|_| {
            let (client, path) = (client.clone(), path.to_owned());
            tokio::task::spawn_blocking(move || client.get(&path))
        })
        .collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_locked_gives_no_answer_to_the_page_and_costs_publishing_nothing() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let reader = Client::of(&relay);
    let mut locker = rig.database.session().await;
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("lock table relay.audit in access exclusive mode").await.unwrap();
    let asking = tokio::spawn({
        let reader = reader.clone();
        async move { at_once(&reader, &format!("{OUTBOX}/audit"), 24).await }
    });
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and application_name = 'relay page' and wait_event_type = 'Lock'";
    wait::until("the page's sessions wait", wait::LONG, async || rig.database.number(waiting).await == 2)
        .await;
    rig.database.insert_many(500, 50).await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0);
    assert_eq!(reader.get("/metrics").status, 200);
    let answers = asking.await.unwrap();
    for answer in &answers {
        answer.refused(answer.status, &["again"]);
        assert!([503, 504].contains(&answer.status), "{answer:?}");
    }
    assert!(answers.iter().any(|answer| answer.body.contains("timeout")), "{answers:?}");
    assert!(
        answers.iter().any(|answer| answer.body.contains("connections to the database are busy")),
        "{answers:?}"
    );
    assert!(answers.iter().any(|answer| answer.body.contains("being worked at already")), "{answers:?}");
    let sessions = "select count(*) from pg_stat_activity
                    where datname = current_database() and application_name = 'relay page'";
    assert!(rig.database.number(sessions).await <= 2, "it has few, however many ask");
    lock.rollback().await.unwrap();
    wait::until("it answers again", wait::LONG, async || {
        reader.get(&format!("{OUTBOX}/audit")).status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_stand_still_are_given_up_while_publishing_goes_on() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let relay = operated(&rig).env("RELAY_DATABASE_STATEMENT_TIMEOUT", "1s").ready().await;
    let reader = Client::of(&relay);
    let answers = at_once(&reader, &format!("{OUTBOX}/status"), 2).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let stopped = Stopped::backends(&rig.database, "relay page").await;
    let stuck = at_once(&reader, &format!("{OUTBOX}/status"), stopped.len()).await;
    for answer in &stuck {
        assert_eq!(answer.refused(503, &["did not answer within"])["relay"]["ready"], true);
    }
    rig.database.insert_many(500, 50).await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0);
    assert_eq!(reader.get(&format!("{OUTBOX}/status")).status, 200, "by another session");
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_bounded_in_bytes_and_time() {
    let rig = Rig::new().await;
    let relay = operated(&rig).ready().await;
    let operator = Client::of(&relay).with(OPERATE);
    let body = json!({ "event_ids": [], "note": "x".repeat(70_000) });
    operator.post(&format!("{OUTBOX}/dead/replay"), &body).refused(413, &["65536"]);
    let path = format!("{OUTBOX}/dead?aggregate_id={}", "x".repeat(1_000_000));
    assert!([414, 431].contains(&operator.get(&path).status));
    // A body that never comes keeps nobody else waiting, and is given up.
    let head = format!(
        "POST {OUTBOX}/pause HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {OPERATE}\r\nX-Relay-Actor: Ann\r\n\
         Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{{",
        operator.address
    );
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(operator.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        slow.push(stream);
    }
    assert_eq!(operator.get(&format!("{OUTBOX}/status")).status, 200);
    for mut stream in slow {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 504");
    }
    assert_eq!(rig.database.number("select count(*) from relay.pauses").await, 0);
}
