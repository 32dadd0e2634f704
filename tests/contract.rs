//! The public contract: names, argument orders and types that programs are written against. It is enough that this
//! compiles; what the functions do is promised elsewhere.
#![allow(dead_code, unused_must_use, clippy::type_complexity, reason = "it is only compiled")]

use std::any::Any;
use std::collections::HashSet;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::time::{Duration, Instant};

use sward::lowlevel;
use sward::sync::*;
use sward::*;

const MS: Duration = Duration::from_millis(1);

fn is_send<T: Send>() {}
fn is_sync<T: Sync>() {}
fn is_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
fn is_error<T: Error + Send + Sync + 'static>() {}
fn is_debug<T: Debug>() {}
fn is_default<T: Default>() {}

fn greenlets() -> io::Result<()> {
    let g: Greenlet<i32> = spawn(|| 1);
    let _: Greenlet<()> = spawn_later(MS, || ());
    g.wait();
    let _: bool = g.wait_timeout(MS);
    let _: bool = g.is_finished();
    g.kill();
    g.link(|result: &Result<i32, JoinError>| assert!(result.is_ok()));
    let id: GreenletId = g.id();
    let (mut set, text) = (HashSet::new(), id.to_string());
    set.insert(id);
    let other = current().id();
    let _ = (id == other, id < other, format!("{id:?}{text}"));
    let _: Option<&str> = g.name();
    let _: Result<i32, JoinError> = g.join();
    let builder: Builder = Builder::new().name("n").name(String::from("m")).stack_size(65536);
    let _: io::Result<Greenlet<u8>> = builder.clone().spawn(|| 1u8);
    let text = String::from("borrowed");
    let len: usize = scope(|s| {
        let a: ScopedGreenlet<'_, usize> = s.spawn(|| text.len());
        let b: io::Result<ScopedGreenlet<'_, usize>> = Builder::new().spawn_scoped(s, || text.len());
        a.wait();
        a.kill();
        let _ = (a.id(), a.name(), a.is_finished(), a.wait_timeout(MS));
        a.join().unwrap() + b.unwrap().join().unwrap()
    });
    let _: Vec<Result<usize, JoinError>> = join_all([spawn(move || len)]);
    let _: u8 = run(|| 1);
    let me: Current = current();
    let _ = (me.id(), me.name().map(str::to_owned));
    me.kill();
    yield_now();
    sleep(MS);
    sleep_until(Instant::now());
    let _: Result<u8, Elapsed> = timeout(MS, || 1);
    let _: u8 = shield(|| 1);
    let _: u8 = offload(|| 1);
    let _: u8 = block_on(async { 1 });
    let h: Handle = handle();
    let r: RemoteGreenlet<u8> = h.clone().spawn(|| 1u8);
    let _: bool = r.is_finished();
    r.kill();
    let _: Result<u8, JoinError> = r.join();
    Ok(())
}

fn errors(error: JoinError) {
    let _: (bool, bool) = (error.is_killed(), error.is_panic());
    let error = match error.try_into_panic() {
        Ok::<Box<dyn Any + Send>, JoinError>(payload) => return drop(payload),
        Err(error) => error,
    };
    let _: Box<dyn Any + Send> = error.into_panic();
    is_error::<JoinError>();
    is_error::<Elapsed>();
    is_send::<Handle>();
    is_sync::<Handle>();
    is_send::<RemoteGreenlet<u8>>();
    is_send::<lowlevel::RemoteUnparker>();
    is_unwind_safe::<Greenlet<u8>>();
    is_unwind_safe::<Handle>();
}

greenlet_local! {
    /// One.
    pub static ONE: u32 = 1;
    static TWO: String = String::new();
}

fn waiting(g: &Greenlet<u8>, event: Rc<Event>, result: &AsyncResult<u8>, semaphore: &Semaphore, queue: &Queue<u8>) {
    let _: u32 = ONE.with(|one| *one) + TWO.with(|two| two.len() as u32);
    let all: [&dyn Waitable; 5] = [g, &event, result, semaphore, queue];
    let _: usize = wait_any(&all);
    let _: Option<usize> = wait_any_timeout(&all, MS);
    let _: lowlevel::Wake = lowlevel::park(Some(Instant::now()));
    lowlevel::Unparker::current().unpark();
    lowlevel::RemoteUnparker::current().unpark();
    match lowlevel::park(None) {
        lowlevel::Wake::Unparked | lowlevel::Wake::TimedOut => {}
        _ => {}
    }
    let _: lowlevel::WaitQueue<()> = lowlevel::WaitQueue::new();
    is_debug::<lowlevel::Source<std::net::TcpStream>>();
}

fn sync_one(mutex: &Mutex<String>, lock: &ReentrantLock<String>, rw: &RwLock<String>, pair: &Condvar) {
    const { std::mem::forget((Event::new(), Semaphore::new(1), Mutex::new(1), RwLock::new(1), Condvar::new())) };
    let event = Event::new();
    event.set();
    event.clear();
    let _: (bool, bool) = (event.is_set(), event.wait_timeout(MS));
    event.wait();
    let result: AsyncResult<u8> = AsyncResult::new();
    let _: Result<(), u8> = result.set(1);
    let _: (bool, &u8, Result<&u8, Elapsed>) = (result.is_set(), result.get(), result.get_timeout(MS));
    let _: Option<&u8> = result.try_get();
    let _: Option<u8> = result.into_inner();
    let semaphore = Rc::new(Semaphore::new(3));
    let permit: Permit<'_> = semaphore.acquire();
    let _: (Option<Permit<'_>>, Option<Permit<'_>>) = (semaphore.try_acquire(), semaphore.acquire_timeout(MS));
    permit.forget();
    let owned: OwnedPermit = semaphore.acquire_owned();
    owned.forget();
    semaphore.add_permits(2);
    let _: usize = semaphore.available_permits();
    let guard: MutexGuard<'_, String> = mutex.lock();
    let guard: MutexGuard<'_, String> = pair.wait(guard);
    let guard = pair.wait_while(guard, |text: &mut String| text.is_empty());
    let (guard, result): (MutexGuard<'_, String>, WaitTimeoutResult) = pair.wait_timeout(guard, MS);
    let _: bool = result.timed_out();
    let (guard, _) = pair.wait_timeout_while(guard, MS, |text| text.is_empty());
    drop(guard);
    pair.notify_one();
    pair.notify_all();
    let _: (Option<MutexGuard<'_, String>>, Option<MutexGuard<'_, String>>) =
        (mutex.try_lock(), mutex.lock_timeout(MS));
    let (a, b) = (lock.lock(), lock.lock());
    let _: usize = a.len() + b.len();
    let _ = (lock.try_lock().is_some(), lock.lock_timeout(MS).is_some());
    let _ = (rw.read().len(), rw.try_read().is_some(), rw.read_timeout(MS).is_some());
    rw.write().push('x');
    let _ = (rw.try_write().is_some(), rw.write_timeout(MS).is_some());
    let mut own = Mutex::new(1);
    *own.get_mut() = 2;
    let _: i32 = own.into_inner();
    let mut own = RwLock::new(1);
    *own.get_mut() = 2;
    let _: i32 = own.into_inner();
    let barrier = Barrier::new(1);
    let waited: BarrierWaitResult = barrier.wait();
    let _: bool = waited.is_leader();
    let unsized_mutex: &Mutex<[u8]> = &Mutex::new([1u8; 3]);
    let _: usize = unsized_mutex.lock().len();
}

macro_rules! queue_methods {
    ($queue:expr) => {{
        let queue = $queue;
        let _: Result<(), Closed<u8>> = queue.put(1);
        let _: Option<u8> = queue.get();
        match queue.try_put(1) {
            Ok(()) | Err(TryPutError::Full(1 | _)) | Err(TryPutError::Closed(_)) => {}
        }
        match queue.try_get() {
            Ok(_) | Err(TryGetError::Empty) | Err(TryGetError::Closed) => {}
        }
        match queue.put_timeout(1, MS) {
            Ok(()) | Err(PutTimeoutError::Timeout(_)) | Err(PutTimeoutError::Closed(_)) => {}
        }
        match queue.get_timeout(MS) {
            Ok(_) | Err(GetTimeoutError::Timeout) | Err(GetTimeoutError::Closed) => {}
        }
        let _: Option<u8> = queue.peek();
        let _: (usize, bool, bool, Option<usize>) = (queue.len(), queue.is_empty(), queue.is_full(), queue.capacity());
        queue.close();
        let _: bool = queue.is_closed();
        for item in queue.iter() {
            let _: u8 = item;
            queue.task_done();
        }
        queue.join();
    }};
}

fn queues() {
    queue_methods!(Queue::<u8>::unbounded());
    queue_methods!(Queue::<u8>::bounded(1));
    queue_methods!(PriorityQueue::<u8>::unbounded());
    queue_methods!(LifoQueue::<u8>::bounded(0));
    struct NoDebug;
    is_debug::<Closed<NoDebug>>();
    is_debug::<TryPutError<NoDebug>>();
    let _ = (Closed(1) == Closed(1), TryGetError::Empty == TryGetError::Closed);
}

fn groups() {
    let group = Group::new();
    let _: Greenlet<u8> = group.spawn(|| 1);
    let _: (usize, bool, bool) = (group.len(), group.is_empty(), group.join_timeout(MS));
    group.join();
    group.kill();
    let pool = Pool::new(4);
    let _: Greenlet<u8> = pool.spawn(|| 1);
    let _: usize = pool.free_count();
    pool.wait_available();
    let _: Vec<i32> = pool.map([1, 2], |n| n + 1);
    let _: Vec<Result<i32, JoinError>> = pool.imap([1, 2], |n| n + 1).collect();
    let _: Vec<Result<i32, JoinError>> = pool.imap_unordered(vec![1, 2], |n| n + 1).collect();
    is_default::<Group>();
    is_default::<Event>();
    is_default::<AsyncResult<u8>>();
    is_default::<Condvar>();
}

fn channels() {
    use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
    let (tx, rx): (channel::Sender<u8>, channel::Receiver<u8>) = channel::bounded(1);
    let (_, _) = channel::unbounded::<String>();
    let _: Result<(), SendError<u8>> = tx.clone().send(1);
    let _: Result<(), TrySendError<u8>> = tx.try_send(1);
    let _: Result<u8, RecvError> = rx.clone().recv();
    let _: Result<u8, TryRecvError> = rx.try_recv();
    let _: Result<u8, RecvTimeoutError> = rx.recv_timeout(MS);
    tx.send_timeout(1, MS);
    let _: Vec<u8> = rx.iter().collect();
    let mut select = channel::Select::new();
    let (a, b) = (select.send(&tx), select.recv(&rx));
    if let Ok(operation) = select.select_timeout(MS) {
        match operation.index() {
            index if index == a => operation.send(&tx, 1).unwrap(),
            index if index == b => drop(operation.recv(&rx)),
            _ => unreachable!(),
        }
    }
    is_send::<channel::Sender<u8>>();
    is_send::<channel::Receiver<u8>>();
}

mod network {
    use std::io::{self, Read, Write};
    use std::net::Shutdown;
    use std::os::fd::{AsFd, AsRawFd, IntoRawFd};

    use super::MS;
    use sward::net::{
        Server, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream, wait_readable, wait_writable,
    };

    fn tcp() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let mut stream = TcpStream::connect(address)?;
        let _ = TcpStream::connect_timeout(&address, MS)?;
        stream.write_all(b"x")?;
        let _: usize = (&stream).write_vectored(&[io::IoSlice::new(b"y")])?;
        let _: usize = (&stream).read(&mut [0])?;
        let _: usize = stream.read_vectored(&mut [io::IoSliceMut::new(&mut [0])])?;
        stream.peek(&mut [0])?;
        stream.shutdown(Shutdown::Both)?;
        let other: TcpStream = stream.try_clone()?;
        other.set_nodelay(true)?;
        other.set_read_timeout(Some(MS))?;
        other.set_write_timeout(None)?;
        let (_stream, _peer) = listener.accept()?;
        for stream in listener.incoming() {
            let _: TcpStream = stream?;
        }
        let from: TcpStream = std::net::TcpStream::connect(address)?.into();
        let _ = (from.as_fd(), from.as_raw_fd());
        wait_readable(&from, Some(MS))?;
        wait_writable(from.as_fd(), None)?;
        let _: i32 = from.into_raw_fd();
        Ok(())
    }

    fn others() -> io::Result<()> {
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        udp.send_to(b"x", udp.local_addr()?)?;
        let (_, _) = udp.recv_from(&mut [0])?;
        let (a, _b) = UnixStream::pair()?;
        let _ = UnixListener::bind("/x")?.accept()?;
        let _ = UnixDatagram::unbound()?;
        drop(a);
        Ok(())
    }

    fn server() -> io::Result<()> {
        let server = Server::bind("127.0.0.1:0")?.pool(10).threads(2);
        let handle = server.handle();
        std::thread::spawn(move || {
            handle.stop();
            handle.stop_timeout(MS);
        });
        server.serve(|mut stream, _peer| drop(stream.write_all(b"x")))
    }

    fn process() -> io::Result<()> {
        let output = sward::process::Command::new("true").arg("x").output()?;
        let _ = output.status.success();
        sward::signal::wait(&[15])?;
        Ok(())
    }
}

#[cfg(feature = "patch")]
fn patch() {
    let show = |report: sward::patch::Report| report.to_string();
    let _: &dyn Fn(sward::patch::Report) -> String = &show;
    let _: u8 = sward::patch::without(|| 1);
    let _: String = sward::patch::stats().to_string();
}

fn futures(f: impl Future<Output = u8>, show: impl Display) -> (u8, String) {
    (block_on(f), show.to_string())
}

#[test]
fn the_contract_is_kept() {
    // What is above has compiled.
    assert_eq!(spawn(|| 1).join().unwrap(), 1);
}
