//! A TCP proxy on loopback that a test may cut, freeze or close: what a network, a load balancer or a stopped
//! broker does to a connection.

#![allow(dead_code, unreachable_pub, reason = "each test binary that includes it uses a part of it")]

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Which bytes pass, and whether anybody may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rules {
    to_upstream: bool,
    to_client: bool,
    accept: bool,
    /// Connections of an older epoch are cut.
    epoch: u64,
    /// Nothing passes any more on connections from before the last stranding.
    strandings: u64,
    /// Nor on one that sends this.
    trap: Option<&'static str>,
    /// To one that sends this nothing comes back.
    unanswered: Option<&'static str>,
}

/// Forwards connections to one upstream address until dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    rules: Arc<watch::Sender<Rules>>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free loopback port and forwards to `upstream` (`host:port`).
    pub async fn start(upstream: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let rules = Arc::new(watch::Sender::new(Rules {
            to_upstream: true,
            to_client: true,
            accept: true,
            epoch: 0,
            strandings: 0,
            trap: None,
            unanswered: None,
        }));
        let (open, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&open), Arc::clone(&accepted));
        let acceptor = tokio::spawn(accept(listener, upstream.into(), Arc::clone(&rules), counts));
        Ok(Self { address, rules, open, accepted, acceptor })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many client connections are open.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// How many client connections there were so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Resets every open connection (RST, both sides). New ones are accepted.
    pub fn cut(&self) {
        self.change(|rules| rules.epoch += 1);
    }

    /// Holds every byte in both directions; connections stay open and new ones are accepted into the silence.
    pub fn freeze(&self) {
        self.change(|rules| (rules.to_upstream, rules.to_client) = (false, false));
    }

    /// Holds what upstream answers; what the client sends passes.
    pub fn freeze_upstream_to_client(&self) {
        self.change(|rules| rules.to_client = false);
    }

    /// Strands every open connection: it stays open, and nothing passes on it any more. New ones pass.
    pub fn strand(&self) {
        self.change(|rules| rules.strandings += 1);
    }

    /// Strands each connection whose client sends this in one piece, before it passes, until the thaw.
    pub fn strand_whoever_sends(&self, text: &'static str) {
        self.change(|rules| rules.trap = Some(text));
    }

    /// Passes this on, but nothing that is sent back on that connection from then on: what was asked for is done, and its
    /// answer is lost. Until the thaw for others.
    pub fn leave_unanswered(&self, text: &'static str) {
        self.change(|rules| rules.unanswered = Some(text));
    }

    /// Lets held bytes go, and new connections in; but nothing of what was stranded.
    pub fn thaw(&self) {
        self.change(|rules| {
            (rules.to_upstream, rules.to_client, rules.accept) = (true, true, true);
            (rules.trap, rules.unanswered) = (None, None);
        });
    }

    /// Resets each new connection right away. Open ones live on.
    pub fn refuse(&self) {
        self.change(|rules| rules.accept = false);
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        self.rules.send_modify(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: String,
    rules: Arc<watch::Sender<Rules>>,
    (open, accepted): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    while let Ok((client, _)) = listener.accept().await {
        let now = *rules.borrow();
        if !now.accept {
            reset(&client);
            continue;
        }
        let (upstream, rules, open) = (upstream.clone(), rules.subscribe(), Arc::clone(&open));
        accepted.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            open.fetch_add(1, Ordering::SeqCst);
            // An upstream that is down shows as a connection that closes at once, as with a load balancer.
            let _ = serve(client, &upstream, rules, now).await;
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(
    client: TcpStream,
    upstream: &str,
    rules: watch::Receiver<Rules>,
    at_first: Rules,
) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut cut = rules.clone();
    let (look, trapped, unanswered) = (rules.clone(), AtomicBool::new(false), AtomicBool::new(false));
    let afloat = |rules: &Rules| rules.strandings == at_first.strandings;
    let sent = |bytes: &[u8]| {
        let now = *look.borrow();
        for (text, seen) in [(now.trap, &trapped), (now.unanswered, &unanswered)] {
            if text.is_some_and(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes())) {
                seen.store(true, Ordering::SeqCst);
            }
        }
        trapped.load(Ordering::SeqCst)
    };
    let answered = |_: &[u8]| trapped.load(Ordering::SeqCst) || unanswered.load(Ordering::SeqCst);
    let up = pump(client_read, server_write, rules.clone(), |rules| rules.to_upstream && afloat(rules), sent);
    let down = pump(server_read, client_write, rules, |rules| rules.to_client && afloat(rules), answered);
    tokio::pin!(up, down);
    let mut halves: (Option<Halves>, Option<Halves>) = (None, None);
    // The end of one direction is passed on as such; the other one goes on.
    while halves.0.is_none() || halves.1.is_none() {
        tokio::select! {
            ended = &mut up, if halves.0.is_none() => halves.0 = Some(ended),
            ended = &mut down, if halves.1.is_none() => halves.1 = Some(ended),
            _ = cut.wait_for(|rules| rules.epoch != at_first.epoch) => return Ok(()),
        }
    }
    Ok(())
}

type Halves = (Reader, OwnedWriteHalf);

/// Resets its connection when dropped: a socket that lingers for zero seconds sends RST instead of FIN.
struct Reader(OwnedReadHalf);

impl Drop for Reader {
    fn drop(&mut self) {
        reset(self.0.as_ref());
    }
}

fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn pump(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut rules: watch::Receiver<Rules>,
    open: impl Fn(&Rules) -> bool,
    stranded: impl Fn(&[u8]) -> bool,
) -> Halves {
    let mut from = Reader(from);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // Reads only when it may write: what a frozen link holds stays in the kernel, and the sender feels it.
        if rules.wait_for(|rules| open(rules)).await.is_err() {
            break;
        }
        let Ok(length) = from.0.read(&mut buffer).await else { break };
        if stranded(&buffer[..length]) {
            return std::future::pending().await;
        }
        // Frozen between the read and now: hold these bytes as well.
        if rules.wait_for(|rules| open(rules)).await.is_err() {
            break;
        }
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    (from, to)
}
