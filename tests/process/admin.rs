//! The admin listener, and whoever comes there for nothing.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::{
    rig::Rig,
    support::{relay::RelayProcess, wait},
};

/// Connections that it holds at a time.
const CONNECTIONS: usize = 256;
/// Descriptors that a relay opens and closes as it works.
const OTHERS: usize = 16;

fn descriptors(relay: &RelayProcess) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", relay.pid())).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_for_nothing_take_so_many_descriptors_and_end_so_that_others_are_answered() {
    let rig = Rig::new().await;
    let relay = rig.relay().ready().await;
    let before = descriptors(&relay);
    let open = |_| {
        let stream = TcpStream::connect_timeout(&relay.address(), Duration::from_secs(5)).unwrap();
        stream.set_read_timeout(Some(wait::LONG)).unwrap();
        stream
    };
    let silent: Vec<TcpStream> = (0..CONNECTIONS + 100).map(open).collect();
    wait::until("all places are taken", wait::LONG, async || {
        descriptors(&relay) >= before + CONNECTIONS - OTHERS
    })
    .await;
    // Rows go out as ever, and whoever asks for something waits until a place is free.
    let seq = rig.database.insert("1", "placed").await;
    rig.database.wait_published(seq).await;
    let mut asking = open(0);
    write!(asking, "GET /livez HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").unwrap();
    wait::throughout("the rest waits outside", Duration::from_secs(1), async || {
        descriptors(&relay) <= before + CONNECTIONS + OTHERS
    })
    .await;
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for mut stream in silent {
        let mut end = Vec::new();
        stream.read_to_end(&mut end).expect("a connection that asks for nothing is closed");
        assert!(end.is_empty(), "{}", String::from_utf8_lossy(&end));
    }
    relay.wait_ready().await;
    assert!(relay.complaints().is_empty(), "{:?}", relay.complaints());
}
