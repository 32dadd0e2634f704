//! Leaving HTTP: WebSocket and whatever else a client and a server agree on.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::rc::{Rc, Weak};

use bytes::{Buf, Bytes};
use sward_runtime::greenlet_local;

use crate::shared::Shared;
use crate::wait::wait_for;
use crate::wire::Wire;

greenlet_local! {
    /// The connection of the request that runs in this greenlet, if the client asked for an upgrade.
    static CONNECTION: RefCell<Weak<Shared>> = RefCell::new(Weak::new());
}

/// What takes a connection over.
pub(crate) type UpgradeTo = Box<dyn FnOnce(Upgraded)>;

/// The running greenlet's request may be upgraded.
pub(crate) fn allow(shared: &Rc<Shared>) {
    CONNECTION.with(|connection| *connection.borrow_mut() = Rc::downgrade(shared));
}

/// Takes the connection over: when the handler returns a response with the status 101, and it was sent,
/// `f` runs in a greenlet of the connection's with the stream, in plain blocking style.
///
/// Called in the handler's greenlet, in a closure or in a framework's handler alike. With another status
/// `f` is dropped. When it returns the connection is closed.
///
/// # Errors
///
/// `ErrorKind::Unsupported` if the client did not ask for an upgrade, or speaks HTTP/2.
///
/// ```
/// use std::io::{Read, Write};
/// use sward::web::{self, Body, Request, Response};
///
/// /// Echoes whatever comes.
/// fn echo(_: Request<Body>) -> std::io::Result<Response<()>> {
///     web::upgrade(|mut stream| {
///         let mut buffer = [0; 512];
///         while let Ok(n @ 1..) = stream.read(&mut buffer) {
///             if stream.write_all(&buffer[..n]).is_err() {
///                 return;
///             }
///         }
///     })?;
///     let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
///     Ok(response.body(()).unwrap())
/// }
/// ```
pub fn upgrade<F: FnOnce(Upgraded) + 'static>(f: F) -> io::Result<()> {
    match CONNECTION.with(|connection| connection.borrow().upgrade()) {
        Some(shared) => {
            // Bound to a name: what a handler put there before is dropped after the borrow has ended.
            let _former = shared.upgrade.replace(Some(Box::new(f)));
            Ok(())
        }
        None => Err(io::Error::new(io::ErrorKind::Unsupported, "this request does not ask for an upgrade")),
    }
}

/// A connection that has left HTTP: a blocking stream.
///
/// See [`upgrade`] for an example.
pub struct Upgraded {
    /// The socket.
    wire: Rc<Wire>,
    /// What the client sent together with its request.
    rest: Bytes,
}

impl Upgraded {
    /// The stream of `wire`, of which hyper has read `rest` already.
    pub(crate) fn new(wire: Rc<Wire>, rest: Bytes) -> Upgraded {
        let more = wire.take_back();
        // hyper reads no more than it needs.
        let rest = if more.is_empty() { rest } else { [&*rest, &more].concat().into() };
        Upgraded { wire, rest }
    }
}

impl Read for Upgraded {
    /// Blocks the greenlet.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            return wait_for(|context| self.wire.stream().poll_read(context, buffer));
        }
        let n = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

impl Write for Upgraded {
    /// Blocks the greenlet.
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        wait_for(|context| self.wire.stream().poll_write(context, &[IoSlice::new(buffer)]))
    }

    /// Blocks the greenlet, over TLS.
    fn flush(&mut self) -> io::Result<()> {
        wait_for(|context| self.wire.stream().poll_flush(context))
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}
