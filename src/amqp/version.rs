//! The broker's version, which lapin receives and keeps to itself.

use async_compat::CompatExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{AmqpError, AmqpSettings, socket};

/// AMQP 0-9-1, 4.2.2: what a client says first. The broker answers with `connection.start`.
const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
/// Key of the server properties, a short string, and the tag of a long string.
const VERSION_KEY: &[u8] = b"\x07versionS";
/// RabbitMQ's `connection.start` takes about 500 bytes.
const START_LIMIT: usize = 16 * 1024;

/// The number before the first dot of the [`server`]'s version.
///
/// # Errors
/// As there.
pub(super) async fn server_major(settings: &AmqpSettings) -> Result<Option<u32>, AmqpError> {
    let version = server(settings).await?;
    Ok(version.and_then(|version| version.split('.').next()?.parse().ok()))
}

/// Asks for the broker's version over a short connection of its own, without logging in. `None` if the broker does not say.
///
/// # Errors
/// Those of connecting. A broker that hangs up, or says nothing in time, has no version.
pub async fn server(settings: &AmqpSettings) -> Result<Option<String>, AmqpError> {
    let deadline = Instant::now() + settings.connect_timeout;
    let (stream, _handle) = socket::open(settings, deadline).await?;
    let ask = async {
        let mut stream = stream.compat();
        let mut start = Vec::with_capacity(1024);
        stream.write_all(&PROTOCOL_HEADER).await.ok()?;
        while start.len() < START_LIMIT {
            if stream.read_buf(&mut start).await.ok()? == 0 {
                return None;
            }
            if let Some(version) = version(&start) {
                return Some(version);
            }
        }
        None
    };
    Ok(timeout_at(deadline, ask).await.ok().flatten())
}

/// The `version` in a `connection.start`, once it is complete.
fn version(start: &[u8]) -> Option<String> {
    let key = start.windows(VERSION_KEY.len()).position(|window| window == VERSION_KEY)?;
    let (length, rest) = start.get(key + VERSION_KEY.len()..)?.split_first_chunk::<4>()?;
    let version = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    std::str::from_utf8(version).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_version_is_read_once_it_is_complete() {
        let start =
            b"\x01\x00\x00....\x07productS\x00\x00\x00\x08RabbitMQ\x07versionS\x00\x00\x00\x064.13.2\xce";
        assert_eq!(version(start).as_deref(), Some("4.13.2"));
        assert_eq!(version(&start[..start.len() - 3]), None);
        assert_eq!(version(b"\x07versionS\x00\x00\x00\x03dev").as_deref(), Some("dev"));
        assert_eq!(version(b"\x07versionS\xff\xff\xff\xff3.1"), None);
    }
}
