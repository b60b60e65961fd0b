//! Sockets: bound to what is configured, and never more connections than allowed.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::config::Listen;

/// Pause after a failed accept: out of file handles, mostly, which time may heal.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket that accepts a limited number of connections at once; more wait in the system's queue.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Acceptor {
    /// Binds the first address of `listen` that can be had.
    ///
    /// # Errors
    /// Why the last one could not.
    pub(super) async fn bind(listen: &Listen, connections: usize) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
        for address in listen.addresses()? {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let places = Arc::new(Semaphore::new(connections));
                    return Ok(Self { listener, places });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The address it is bound to, with the port the system chose if it was to choose.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    async fn next(&self) -> (Connection, SocketAddr) {
        loop {
            // Never closed.
            let place = Arc::clone(&self.places).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, peer)) => {
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
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The connections, for tonic.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Connection>> {
        futures::stream::unfold(self, |acceptor| async {
            let (connection, _) = acceptor.next().await;
            Some((Ok(connection), acceptor))
        })
    }
}

/// The connections, for axum.
impl axum::serve::Listener for Acceptor {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address()
    }
}

/// An accepted connection and its place among those allowed.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
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
