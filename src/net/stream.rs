//! What a WebSocket runs on.

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream: TCP, or TLS on something.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One of which the kind does not matter.
pub(super) type BoxStream = Box<dyn Stream>;
