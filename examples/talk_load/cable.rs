//! A wire that can be cut: one TCP connection that runs through this process.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How a wire ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As when a process ends: the system closes the connection (a FIN, or a reset if bytes were still on their way).
    Close,
    /// As when a machine restarts: a reset, whatever was on its way.
    Reset,
}

/// A connection to a server by way of an address of its own. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Cable {
    /// Where a client connects to.
    pub(crate) address: SocketAddr,
    cut: oneshot::Sender<Cut>,
    wire: JoinHandle<io::Result<Instant>>,
}

impl Cable {
    /// A cable to `server` that waits for its one client.
    pub(crate) async fn to(server: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (cut, is_cut) = oneshot::channel();
        let wire = tokio::spawn(async move {
            let (mut near, _) = listener.accept().await?;
            let mut far = TcpStream::connect(server).await?;
            far.set_nodelay(true)?;
            near.set_nodelay(true)?;
            let how = tokio::select! {
                ended = copy_bidirectional(&mut near, &mut far) => return ended.map(|_| Instant::now()),
                how = is_cut => how.unwrap_or(Cut::Close),
            };
            if how == Cut::Reset {
                far.set_zero_linger()?;
            }
            // The server's side ends with this, before the client's does.
            drop(far);
            Ok(Instant::now())
        });
        Ok(Self { address, cut, wire })
    }

    /// Cuts it; gives the moment.
    pub(crate) async fn cut(self, how: Cut) -> io::Result<Instant> {
        // One that has ended by itself gives its own moment.
        let _ = self.cut.send(how);
        self.wire.await?
    }
}
