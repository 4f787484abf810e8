//! A mail server that keeps what it takes. Of one mail it takes, the answer is lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::servers::Result;

/// The mail after which it is gone before it says that it took it.
const LOST: usize = 5;

/// A mail that came whole.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    /// The recipient's command, with the address.
    to: String,
    text: String,
}

impl Mail {
    /// Which shipment it tells of.
    pub(crate) fn shipment(&self) -> Option<&str> {
        self.text.split("The number of the shipment is ").nth(1)?.split(".\r\n").next()
    }

    /// To whom it says what.
    pub(crate) fn what(&self) -> Option<(&str, &'static str)> {
        let subject = self.text.split("\r\n").find_map(|line| line.strip_prefix("Subject: "))?;
        let kind = if subject.ends_with("is on its way") { "shipped" } else { "corrected" };
        Some((self.to.split(['<', '>']).nth(1)?, kind))
    }
}

/// Everything that came. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Mailbox {
    mails: Arc<Mutex<Vec<Mail>>>,
    url: String,
}

impl Mailbox {
    pub(crate) async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("smtp://{}", listener.local_addr()?);
        let mailbox = Self { mails: Arc::default(), url };
        let serving = mailbox.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mailbox = serving.clone();
                // Whoever breaks off is its own affair: workers are killed.
                tokio::spawn(async move { drop(mailbox.talk(stream).await) });
            }
        });
        Ok(mailbox)
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Mail>> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.lock().clone()
    }

    /// Keeps a mail; returns how many there are.
    fn keep(&self, mail: Mail) -> usize {
        let mut mails = self.lock();
        mails.push(mail);
        mails.len()
    }

    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 mailbox\r\n").await?;
        let mut to = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let reply = match line.trim_end().split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => "250-mailbox\r\n250 8BITMIME",
                "MAIL" => "250 2.1.0 ok",
                "RCPT" => {
                    to = line;
                    "250 2.1.5 ok"
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await?;
                    let mut text = String::new();
                    while !text.ends_with("\r\n.\r\n") {
                        if stream.read_line(&mut text).await? == 0 {
                            return Ok(());
                        }
                    }
                    if self.keep(Mail { to: to.clone(), text }) == LOST {
                        return Ok(());
                    }
                    "250 2.0.0 taken"
                }
                "QUIT" => return stream.write_all(b"221 bye\r\n").await,
                _ => "500 5.5.1 what?",
            };
            stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        }
    }
}
