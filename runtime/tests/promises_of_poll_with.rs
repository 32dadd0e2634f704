//! What `Source::poll_with` says about futures that wait on a descriptor.

mod support;

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use support::watchdog;
use sward::lowlevel::{Direction, Source, spawn_now};

/// The two ends of a connection, the first one as a source.
fn pair() -> io::Result<(Rc<Source<UnixStream>>, UnixStream)> {
    let (a, b) = UnixStream::pair()?;
    a.set_nonblocking(true)?;
    Ok((Rc::new(Source::new(a)), b))
}

/// Reads once, as a future would.
fn poll_read(source: &Source<UnixStream>, context: &mut Context<'_>) -> Poll<io::Result<u8>> {
    let mut byte = [0];
    source.poll_with(Direction::Read, context, |mut io| io.read(&mut byte)).map_ok(|_| byte[0])
}

#[test]
fn a_future_and_a_greenlet_wait_side_by_side() -> io::Result<()> {
    let (source, mut other) = pair()?;
    let future = sward::spawn({
        let source = source.clone();
        move || sward::block_on(poll_fn(|context| poll_read(&source, context)))
    });
    let greenlet = sward::spawn({
        let source = source.clone();
        move || {
            let mut byte = [0];
            source.read_with("test", None, |mut io| io.read(&mut byte)).map(|_| byte[0])
        }
    });
    sward::yield_now();
    other.write_all(b"xx")?;
    assert_eq!(future.join().unwrap()?, b'x');
    assert_eq!(greenlet.join().unwrap()?, b'x');
    Ok(())
}

/// A waker that closes a descriptor, which uses the reactor.
struct Closing(std::sync::Mutex<Option<std::thread::ThreadId>>);

thread_local! {
    /// What the waker closes.
    static VICTIM: std::cell::RefCell<Option<Rc<Source<UnixStream>>>> = const { std::cell::RefCell::new(None) };
}

impl Wake for Closing {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() = Some(std::thread::current().id());
        drop(VICTIM.take());
    }
}

#[test]
fn a_waker_may_use_the_reactor() -> io::Result<()> {
    let (source, mut other) = pair()?;
    let (victim, _its_other) = pair()?;
    let closing = Arc::new(Closing(Default::default()));
    let waker = Waker::from(closing.clone());
    assert!(poll_read(&victim, &mut Context::from_waker(&waker)).is_pending());
    VICTIM.set(Some(victim));
    assert!(poll_read(&source, &mut Context::from_waker(&waker)).is_pending());
    other.write_all(b"x")?;
    while closing.0.lock().unwrap().is_none() {
        sward::sleep(std::time::Duration::from_millis(1));
    }
    assert!(VICTIM.take().is_none(), "dropped by the waker");
    Ok(())
}

/// A waker that runs a greenlet.
struct Spawning(std::sync::Mutex<usize>);

impl Wake for Spawning {
    fn wake(self: Arc<Self>) {
        drop(spawn_now(move || *self.0.lock().unwrap() += 1).unwrap());
    }
}

/// In the hub there is nobody who could go on after it.
#[test]
fn a_greenlet_that_a_waker_would_run_at_once_runs_in_its_turn() -> io::Result<()> {
    let _watchdog = watchdog();
    let (source, mut other) = pair()?;
    let spawning = Arc::new(Spawning(Default::default()));
    let waker = Waker::from(spawning.clone());
    assert!(poll_read(&source, &mut Context::from_waker(&waker)).is_pending());
    let greenlet = sward::spawn(move || {
        other.write_all(b"x").unwrap();
        sward::sleep(std::time::Duration::from_millis(5));
    });
    greenlet.join().unwrap(); // the root waits in the hub when the event comes
    sward::yield_now();
    assert_eq!(*spawning.0.lock().unwrap(), 1);
    Ok(())
}

#[test]
fn closing_wakes_the_future() -> io::Result<()> {
    let (source, other) = pair()?;
    let waiting = sward::spawn({
        let source = source.clone();
        move || sward::block_on(poll_fn(|context| poll_read(&source, context)))
    });
    sward::yield_now();
    drop(other);
    assert_eq!(waiting.join().unwrap()?, 0);
    Ok(())
}
