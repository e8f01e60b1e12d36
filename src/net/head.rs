//! The server's answer to the upgrade, put together before it is read. tungstenite 0.30 takes an answer that comes in
//! many small pieces for an attack, and of a refusal's body only what came with the last piece of the head.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Longest head: far more than any server sends.
const HEAD_MAX: usize = 65_536;
/// Longest body that is waited for: a JSON object that names an error.
const BODY_MAX: usize = 1024;
/// How long it is waited for. The status alone says enough.
const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// Read at once.
const PIECE: usize = 4096;

/// A stream whose first bytes are an HTTP answer, which is handed on when it is complete.
pub(super) struct Gathered<S> {
    stream: S,
    /// Read, but not handed on.
    waiting: Vec<u8>,
    /// So much of it has been handed on.
    taken: usize,
    progress: Progress,
}

enum Progress {
    Head,
    /// Until there are so many bytes in all.
    Body(usize, Pin<Box<Sleep>>),
    Complete,
}

impl<S> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            waiting: Vec::new(),
            taken: 0,
            progress: Progress::Head,
        }
    }

    /// Looks at what has come since there were this many bytes.
    fn look(&mut self, before: usize) {
        if matches!(self.progress, Progress::Head) {
            match head_end(&self.waiting, before) {
                Some(end) => {
                    let wanted = end + body_len(&self.waiting[..end]);
                    self.progress = Progress::Body(wanted, Box::pin(sleep(BODY_PATIENCE)));
                }
                None if self.waiting.len() > HEAD_MAX => self.progress = Progress::Complete,
                None => {}
            }
        }
        if matches!(self.progress, Progress::Body(wanted, _) if self.waiting.len() >= wanted) {
            self.progress = Progress::Complete;
        }
    }
}

/// Where the head ends, looking no further back than its end could be.
fn head_end(bytes: &[u8], before: usize) -> Option<usize> {
    let from = before.saturating_sub(3);
    let new = &bytes[from..];
    (0..new.len()).find_map(|at| {
        let rest = &new[at..];
        let len = [&b"\n\r\n"[..], b"\n\n"]
            .iter()
            .find_map(|end| rest.starts_with(end).then_some(end.len()));
        Some(from + at + len?)
    })
}

/// How many bytes of the body are worth waiting for. An upgrade has none.
fn body_len(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    if status == Some("101") {
        return 0;
    }
    let len = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let len = value.trim().parse().ok()?;
        name.eq_ignore_ascii_case("content-length").then_some(len)
    });
    len.filter(|len| *len <= BODY_MAX).unwrap_or(0)
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !matches!(this.progress, Progress::Complete) {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut this.stream).poll_read(context, &mut piece)? {
                Poll::Ready(()) if piece.filled().is_empty() => this.progress = Progress::Complete,
                Poll::Ready(()) => {
                    let before = this.waiting.len();
                    this.waiting.extend_from_slice(piece.filled());
                    this.look(before);
                }
                Poll::Pending => {
                    let Progress::Body(_, patience) = &mut this.progress else {
                        return Poll::Pending;
                    };
                    ready!(patience.as_mut().poll(context));
                    this.progress = Progress::Complete;
                }
            }
        }
        if this.taken == this.waiting.len() {
            this.waiting = Vec::new();
            this.taken = 0;
            return Pin::new(&mut this.stream).poll_read(context, buf);
        }
        let rest = &this.waiting[this.taken..];
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        this.taken += len;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    fn pair() -> (DuplexStream, Gathered<DuplexStream>) {
        let (server, client) = duplex(1_000_000);
        (server, Gathered::new(client))
    }

    async fn read(client: &mut Gathered<DuplexStream>) -> String {
        let mut bytes = vec![0; 100_000];
        let len = client.read(&mut bytes).await.unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgrade_is_complete_with_its_head_and_what_follows_passes() {
        for head in [
            "HTTP/1.1 101 S\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 101 S\nA: b\n\n",
        ] {
            let (mut server, mut client) = pair();
            let sending = async {
                for byte in head.bytes() {
                    server.write_u8(byte).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (text, ()) = tokio::join!(read(&mut client), sending);
            assert_eq!(text, head);
            server.write_all(b"frames").await.unwrap();
            assert_eq!(read(&mut client).await, "frames");
            drop(server);
            assert_eq!(read(&mut client).await, "");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_body_is_waited_for_but_not_long() {
        let start = Instant::now();
        let (mut server, mut client) = pair();
        let head = "HTTP/1.1 401 No\r\ncontent-length: 4\r\n\r\n";
        let sending = async {
            server.write_all(head.as_bytes()).await.unwrap();
            sleep(BODY_PATIENCE / 2).await;
            server.write_all(b"body").await.unwrap();
        };
        let (text, ()) = tokio::join!(read(&mut client), sending);
        assert_eq!(text, format!("{head}body"));
        assert_eq!(start.elapsed(), BODY_PATIENCE / 2);

        let (mut server, mut client) = pair();
        server.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read(&mut client).await, head);
        assert_eq!(start.elapsed(), BODY_PATIENCE / 2 + BODY_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_answer_or_too_much_is_handed_on_as_it_is() {
        let start = Instant::now();
        let (mut server, mut client) = pair();
        server.write_all(&vec![b'x'; HEAD_MAX + 1]).await.unwrap();
        assert_eq!(read(&mut client).await.len(), HEAD_MAX + 1);

        let (mut server, mut client) = pair();
        server.write_all(b"HTTP/1.1 101").await.unwrap();
        drop(server);
        assert_eq!(read(&mut client).await, "HTTP/1.1 101");

        let (mut server, mut client) = pair();
        server
            .write_all(b"HTTP/1.1 500 x\r\nContent-Length: 2000000\r\n\r\n")
            .await
            .unwrap();
        assert!(read(&mut client).await.ends_with("\r\n\r\n"));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
