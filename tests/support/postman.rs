//! A mail server, on SMTP.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::support::wait;

/// What it does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Accepts,
    /// Says this to the recipient.
    Recipient(&'static str),
    /// Says this to the mail.
    Content(&'static str),
    /// Says this to the sender.
    Sender(&'static str),
    /// Takes the mail, and is gone before it answers.
    DropsAfterMail,
    /// Is gone in the middle of the mail.
    DropsAtData,
    /// Takes the mail, and never answers.
    SilentAfterMail,
    /// Never greets.
    Silent,
}

/// How it can be spoken to.
#[derive(Clone)]
enum Way {
    Clear,
    /// TLS from the first byte.
    Tls(TlsAcceptor),
    /// TLS after STARTTLS, and all the same in the clear.
    StartTls(TlsAcceptor),
}

/// What a conversation goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Clear {
        starttls: bool,
    },
    Tls,
    /// TLS since STARTTLS: it has greeted.
    Upgraded,
}

/// A mail that was whole.
#[derive(Debug, Clone)]
pub struct Mail {
    pub from: String,
    pub to: String,
    pub text: String,
}

impl Mail {
    pub fn header(&self, name: &str) -> &str {
        let (head, _) = self.text.split_once("\r\n\r\n").expect("a head and a body");
        let line = head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }
}

#[derive(Debug, Default)]
struct Inner {
    mails: Mutex<Vec<Mail>>,
    manners: Mutex<VecDeque<Manner>>,
    connections: Mutex<usize>,
    logins: Mutex<Vec<String>>,
    clear: Mutex<Vec<String>>,
}

pub struct Postman {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Postman {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Postman {
    pub async fn new() -> Self {
        Self::by(Way::Clear).await
    }

    pub async fn with_tls(tls: TlsAcceptor) -> Self {
        Self::by(Way::Tls(tls)).await
    }

    pub async fn with_starttls(tls: TlsAcceptor) -> Self {
        Self::by(Way::StartTls(tls)).await
    }

    async fn by(way: Way) -> Self {
        let inner = Arc::new(Inner::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, way.clone(), Arc::clone(&serving)));
            }
        });
        Self { address, inner, task }
    }

    /// How it treats the next connections; then it accepts.
    pub fn script(&self, manners: impl IntoIterator<Item = Manner>) {
        self.inner.manners.lock().unwrap().extend(manners);
    }

    /// Every mail that it got whole, whether or not it said so.
    pub fn mails(&self) -> Vec<Mail> {
        self.inner.mails.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.inner.connections.lock().unwrap()
    }

    pub fn logins(&self) -> Vec<String> {
        self.inner.logins.lock().unwrap().clone()
    }

    /// The commands that came in the clear.
    pub fn clear(&self) -> Vec<String> {
        self.inner.clear.lock().unwrap().clone()
    }

    pub async fn wait_mails(&self, count: usize) -> Vec<Mail> {
        wait::until(&format!("{count} mails"), wait::LONG, async || self.mails().len() >= count).await;
        self.mails()
    }
}

async fn serve(stream: TcpStream, way: Way, inner: Arc<Inner>) {
    *inner.connections.lock().unwrap() += 1;
    let manner = inner.manners.lock().unwrap().pop_front().unwrap_or(Manner::Accepts);
    // Whoever breaks off is its own affair.
    let _ = speak(stream, way, manner, &inner).await;
}

async fn speak(stream: TcpStream, way: Way, manner: Manner, inner: &Inner) -> std::io::Result<()> {
    match way {
        Way::Clear => {
            talk(stream, Wire::Clear { starttls: false }, manner, inner).await?;
        }
        Way::Tls(tls) => {
            talk(tls.accept(stream).await?, Wire::Tls, manner, inner).await?;
        }
        Way::StartTls(tls) => {
            if let Some(stream) = talk(stream, Wire::Clear { starttls: true }, manner, inner).await? {
                talk(tls.accept(stream).await?, Wire::Upgraded, manner, inner).await?;
            }
        }
    }
    Ok(())
}

/// Returns the stream if it is to go on by TLS.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    wire: Wire,
    manner: Manner,
    inner: &Inner,
) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    if manner == Manner::Silent {
        return std::future::pending().await;
    }
    if wire != Wire::Upgraded {
        stream.write_all(b"220 postman\r\n").await?;
    }
    let (mut from, mut to) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        if matches!(wire, Wire::Clear { .. }) {
            inner.clear.lock().unwrap().push(line.clone());
        }
        let reply = match line.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" if wire == (Wire::Clear { starttls: true }) => {
                "250-postman\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 8BITMIME"
            }
            "EHLO" => "250-postman\r\n250-AUTH PLAIN\r\n250 8BITMIME",
            "STARTTLS" if wire == (Wire::Clear { starttls: true }) => {
                stream.write_all(b"220 2.0.0 go on\r\n").await?;
                return Ok(Some(stream.into_inner()));
            }
            "AUTH" => {
                inner.logins.lock().unwrap().push(line.clone());
                if line.ends_with(WRONG) { "535 5.7.8 no" } else { "235 2.7.0 yes" }
            }
            "MAIL" => {
                from.clone_from(&line);
                if let Manner::Sender(reply) = manner { reply } else { "250 2.1.0 ok" }
            }
            "RCPT" => {
                to.clone_from(&line);
                if let Manner::Recipient(reply) = manner { reply } else { "250 2.1.5 ok" }
            }
            "DATA" if manner == Manner::DropsAtData => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut byte = [0];
                tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte).await?;
                return Ok(None);
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut text).await? == 0 {
                        return Ok(None);
                    }
                }
                text.truncate(text.len() - 5);
                let (from, to) = (address(&from), address(&to));
                inner.mails.lock().unwrap().push(Mail { from, to, text });
                match manner {
                    Manner::DropsAfterMail => return Ok(None),
                    Manner::SilentAfterMail => return std::future::pending().await,
                    Manner::Content(reply) => reply,
                    _ => "250 2.0.0 taken",
                }
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(None);
            }
            _ => "500 5.5.1 what?",
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
}

/// How AUTH PLAIN ends for the password `wrong` of the user `shop`.
pub const WRONG: &str = "AHNob3AAd3Jvbmc=";

fn address(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}
