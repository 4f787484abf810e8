//! lapin's errors in relay's words.

use lapin::{Error, ErrorKind, protocol::AMQPErrorKind};

use crate::publisher::ChannelFailure;

/// What a lapin error says about the channel it came from.
pub(super) fn failure_of(error: &Error) -> ChannelFailure {
    match error.kind() {
        ErrorKind::ProtocolError(reply) => {
            let (code, text) = (reply.get_id(), reply.get_message().to_string());
            match reply.kind() {
                AMQPErrorKind::Soft(_) => ChannelFailure::ChannelClosed { code, text },
                AMQPErrorKind::Hard(_) => ChannelFailure::ConnectionClosed { code, text },
            }
        }
        ErrorKind::InvalidChannelState(..) => {
            // Somebody closed it before; the code, if there was one, went to whoever was waiting then.
            ChannelFailure::ChannelClosed { code: 0, text: "the channel is not open".to_owned() }
        }
        _ => ChannelFailure::ConnectionLost { reason: error.to_string() },
    }
}

/// Whether a close with this reply code can be one message's doing.
///
/// After RabbitMQ's use of the AMQP 0-9-1 reply codes. 320 (forced by an operator), 402, 504, 530 (the virtual
/// host is gone) and 541 say something about the broker or the client, whatever was being published.
pub(super) fn can_be_a_messages_fault(code: u16) -> bool {
    matches!(code, 311 | 312 | 313 | 403 | 404 | 406 | 501 | 502 | 503 | 505 | 540)
}
