//! A response's body while a greenlet writes it.
//!
//! ```text
//!   the writer's greenlet                      a poller's greenlet
//!   write ──▶ waiting ──(until it blocks, or 64 KiB)──▶ poll_chunk ──▶ hyper
//!     ▲                                                    │
//!     └── room: woken when a chunk was taken, or the client is gone
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use sward_runtime::Greenlet;
use sward_runtime::lowlevel::{WaitQueue, can_park};

use crate::reply::BoxError;
use crate::wait::no_waiting;

/// Bytes that wait for the connection at most.
const CAPACITY: usize = 64 * 1024;

/// The closure of [`Reply::from_writer`](crate::Reply::from_writer).
pub(crate) type WriteBody = Box<dyn FnOnce(&mut Writer) -> io::Result<()>>;

/// What writer and connection share.
struct Shared {
    /// Written and not taken yet.
    waiting: RefCell<Vec<u8>>,
    /// How the closure ended.
    end: RefCell<Option<Result<(), BoxError>>>,
    /// Whether nobody takes anything any more.
    abandoned: Cell<bool>,
    /// Whom to wake when there is something to take.
    reader: Cell<Option<Waker>>,
    /// The writer, while there is no room.
    room: WaitQueue,
}

impl Shared {
    /// Tells the connection that there is something.
    fn wake_reader(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// The connection's end.
pub(crate) struct Pipe {
    /// What it shares with the writer.
    shared: Rc<Shared>,
    /// The writer's greenlet, until it has failed.
    greenlet: Option<Greenlet<()>>,
}

impl Pipe {
    /// Runs `write` in a greenlet that `spawn` makes.
    pub(crate) fn start(
        write: WriteBody,
        spawn: impl FnOnce(Box<dyn FnOnce()>) -> io::Result<Greenlet<()>>,
    ) -> Result<Pipe, BoxError> {
        let shared = Rc::new(Shared {
            waiting: RefCell::new(Vec::new()),
            end: RefCell::new(None),
            abandoned: Cell::new(false),
            reader: Cell::new(None),
            room: WaitQueue::new(),
        });
        let mut writer = Writer(shared.clone());
        let greenlet = spawn(Box::new(move || {
            let result = write(&mut writer);
            *writer.0.end.borrow_mut() = Some(result.map_err(BoxError::from));
        }))?;
        Ok(Pipe { shared, greenlet: Some(greenlet) })
    }

    /// The error of a writer: which greenlet it was, and why it ended if it did not say so itself.
    fn explain(&mut self, error: BoxError) -> BoxError {
        let Some(greenlet) = self.greenlet.take() else { return error };
        let id = greenlet.id();
        match greenlet.is_finished().then(|| greenlet.join()) {
            Some(Err(end)) => format!("greenlet {id}: {error}: {end}").into(),
            _ => format!("greenlet {id}: {error}").into(),
        }
    }

    /// What was written since the last call.
    pub(crate) fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let shared = &self.shared;
        let chunk = std::mem::take(&mut *shared.waiting.borrow_mut());
        if !chunk.is_empty() {
            shared.room.wake_all();
            return Poll::Ready(Some(Ok(chunk.into())));
        }
        let end = shared.end.borrow_mut().take();
        match end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(self.explain(error)))),
            None => {
                shared.reader.set(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shared.abandoned.set(true);
        self.shared.room.wake_all();
    }
}

/// What the closure of [`Reply::from_writer`](crate::Reply::from_writer) writes to.
///
/// ```
/// use std::io::Write;
/// use sward::web::{Reply, Writer};
///
/// fn numbers(writer: &mut Writer) -> std::io::Result<()> {
///     (0..1000).try_for_each(|n| writeln!(writer, "{n}"))
/// }
///
/// let body = Reply::from_writer(numbers);
/// ```
pub struct Writer(Rc<Shared>);

impl Write for Writer {
    /// Blocks the greenlet while 64 KiB wait for the client; in a destructor that runs in an unwinding it fails then, with
    /// `ErrorKind::WouldBlock`.
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            if self.0.abandoned.get() {
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client has left"));
            }
            let mut waiting = self.0.waiting.borrow_mut();
            let room = CAPACITY - waiting.len();
            if room > 0 || buffer.is_empty() {
                let n = room.min(buffer.len());
                waiting.extend_from_slice(&buffer[..n]);
                drop(waiting);
                self.0.wake_reader();
                return Ok(n);
            }
            drop(waiting);
            if !can_park() {
                // What a destructor writes in an unwinding (a `BufWriter`'s, an encoder's): the body has failed anyway.
                return Err(no_waiting());
            }
            self.0.room.wait("Writer::write (the client does not read)", (), None);
        }
    }

    /// Does nothing: what was written is sent when this greenlet blocks.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A closure that panicked or was killed has left no result.
        self.0.end.borrow_mut().get_or_insert_with(|| Err("the response's body was not written to its end".into()));
        self.0.wake_reader();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("waiting", &self.0.waiting.borrow().len()).finish_non_exhaustive()
    }
}
