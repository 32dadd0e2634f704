//! What web servers listen on.

use std::net::SocketAddr;

use sward_net::{Accept, TcpListener, TcpStream, UnixListener, UnixStream};

use crate::stream::{Peer, Stream};

/// A listener that a web [`Server`](crate::Server) can be made of: `net::TcpListener` or `net::UnixListener`.
///
/// ```
/// use sward::web::{Listen, Response, Server};
///
/// fn serve<L: Listen>(server: Server<L>) -> std::io::Result<()> {
///     server.serve(|_| Response::new("hello"))
/// }
///
/// let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
/// let server = Server::from(listener);
/// # let handle = server.handle();
/// # sward::spawn(move || handle.stop());
/// serve(server)?;
/// # std::io::Result::Ok(())
/// ```
pub trait Listen: Accept + sealed::Open {}

impl Listen for TcpListener {}
impl Listen for UnixListener {}

/// Keeps `Listen` to the types above.
mod sealed {
    use super::{Accept, Peer, Stream};

    /// What only web servers need of a listener.
    pub trait Open: Accept {
        /// A connection as the engine sees it.
        fn open(stream: Self::Stream, peer: Self::Peer) -> (Stream, Peer);
    }
}

impl sealed::Open for TcpListener {
    fn open(stream: TcpStream, peer: SocketAddr) -> (Stream, Peer) {
        // Answers are written whole: waiting for more to write would only delay them. Refused, it is slower.
        _ = stream.set_nodelay(true);
        (Stream::Tcp(stream), Peer::Tcp(peer))
    }
}

impl sealed::Open for UnixListener {
    fn open(stream: UnixStream, _: std::os::unix::net::SocketAddr) -> (Stream, Peer) {
        (Stream::Unix(stream), Peer::Unix)
    }
}
