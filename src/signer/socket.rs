//! Binary messages over a WebSocket that does not block, for both sides.

use std::io::{self, Read, Write};

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Bytes, Message, WebSocket};

use super::noise::MAX_MESSAGE;

/// How both sides frame messages: small buffers, and nothing longer than a Noise message.
pub(crate) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// The connection is of no more use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost;

fn would_block(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error)
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted))
}

/// The next binary message, if one is there. Pings are answered on the way.
pub(crate) fn read<S: Read + Write>(socket: &mut WebSocket<S>) -> Result<Option<Bytes>, Lost> {
    loop {
        match socket.read() {
            Ok(Message::Binary(message)) => return Ok(Some(message)),
            // After a close the next read sends the answer to it and says that it is over.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => {}
            Ok(Message::Text(_) | Message::Frame(_)) => return Err(Lost),
            Err(error) if would_block(&error) => return Ok(None),
            Err(_) => return Err(Lost),
        }
    }
}

/// Sends a binary message; what the stream does not take now follows with later reads and writes.
pub(crate) fn write<S: Read + Write>(
    socket: &mut WebSocket<S>,
    message: Vec<u8>,
) -> Result<(), Lost> {
    match socket.send(Message::binary(message)) {
        Ok(()) => Ok(()),
        Err(error) if would_block(&error) => Ok(()),
        Err(_) => Err(Lost),
    }
}

/// Starts to close, with a code and no text.
pub(crate) fn close<S: Read + Write>(socket: &mut WebSocket<S>, code: CloseCode) {
    // Best effort: the peer may be gone already, which is what this is for.
    let _ = socket.close(Some(CloseFrame {
        code,
        reason: "".into(),
    }));
}
