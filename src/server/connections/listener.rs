//! Sockets: bound to what is configured, and never more connections than there are places.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::places::{Full, Place, Places};
use crate::config::Listen;

/// Pause after a failed accept: out of file handles, mostly, which time may heal.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the log says that connections are not taken.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// A bound socket that accepts as many connections as there are places; others are closed at once.
#[derive(Debug)]
pub(in crate::server) struct Acceptor {
    listener: TcpListener,
    places: Places,
    refused: Refusals,
}

impl Acceptor {
    /// Binds the first address of `listen` that can be had.
    ///
    /// # Errors
    /// Why the last one could not.
    pub(in crate::server) async fn bind(
        listen: &Listen,
        connections: usize,
        connections_per_address: usize,
    ) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
        for address in listen.addresses()? {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    return Ok(Self {
                        listener,
                        places: Places::new(connections, connections_per_address),
                        refused: Refusals::default(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The address it is bound to, with the port the system chose if it was to choose.
    pub(in crate::server) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection that has a place.
    pub(super) async fn next(&self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => match self.places.take(peer.ip()) {
                    Ok(place) => {
                        // Without it small answers may wait for an acknowledgement; a socket that refuses is only slower.
                        let _ = stream.set_nodelay(true);
                        return (
                            Connection {
                                stream,
                                _place: place,
                            },
                            peer,
                        );
                    }
                    Err(full) => self.refused.tell(peer, full),
                },
                Err(error) => {
                    self.refused.fail(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// What is told of connections that were not taken: the first, and then how many more, not a line for each.
#[derive(Debug, Default)]
struct Refusals(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    since: u64,
}

impl Refusals {
    fn tell(&self, peer: SocketAddr, full: Full) {
        if let Some(more) = self.due() {
            let limit = match full {
                Full::All => "server.max_connections",
                Full::Address => "server.max_connections_per_address",
            };
            tracing::warn!(%peer, limit, more, "a connection was closed: there is no place for it");
        }
    }

    fn fail(&self, error: &io::Error) {
        if let Some(more) = self.due() {
            tracing::warn!(%error, more, "cannot accept a connection");
        }
    }

    /// Whether it is time for a line, and how many were left out since the last.
    fn due(&self) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| last.elapsed() < TELL_AGAIN) {
            told.since += 1;
            return None;
        }
        told.last = Some(Instant::now());
        Some(std::mem::take(&mut told.since))
    }
}

/// An accepted connection and its place among those allowed.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    _place: Place,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
