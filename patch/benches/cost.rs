//! What the hooks cost: `cargo bench -p sward-patch`.
//!
//! Each figure is the difference between the hooked call and libc's own, found past the hooks; the
//! two are measured in turns, and the best round of each counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::ffi::{CStr, c_int, c_long, c_void};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

type Poll = unsafe extern "C" fn(*mut libc::pollfd, libc::nfds_t, c_int) -> c_int;
type Recv = unsafe extern "C" fn(c_int, *mut c_void, usize, c_int) -> isize;

const ROUNDS: usize = 4_000;
const CALLS: u32 = 500;
const REQUESTS: usize = 20_000;

fn main() -> io::Result<()> {
    // SAFETY: the functions' types, and a list of no entries.
    let (hooked, real): (Poll, Poll) = (libc::poll, unsafe { past_the_hooks(c"poll") });
    lock_and_wake("before all, outside greenlets");
    // SAFETY: as above.
    let poll = |poll: Poll| move || unsafe { poll(std::ptr::null_mut(), 0, 0) } as isize;
    report("poll, before all, outside greenlets", poll(hooked), poll(real));
    // SAFETY: nothing here minds that other greenlets run.
    unsafe { sward::patch::all() };
    report("poll, outside greenlets, no hub", poll(hooked), poll(real));
    sward::spawn(|| ()).join().expect("an empty greenlet");
    report("poll, outside greenlets, on a hub's root", poll(hooked), poll(real));
    lock_and_wake("outside greenlets");
    sward::spawn(|| lock_and_wake("in a greenlet, free")).join().expect("figures");

    let (mut a, b) = UnixStream::pair()?;
    a.write_all(b"x")?;
    // SAFETY: the function's type.
    let (hooked, real): (Recv, Recv) = (libc::recv, unsafe { past_the_hooks(c"recv") });
    let recv = move |recv: Recv| {
        let fd = b.as_raw_fd();
        // SAFETY: one byte, which is only looked at.
        move || unsafe { recv(fd, (&raw mut *black_box(&mut 0u8)).cast(), 1, libc::MSG_PEEK) }
    };
    let in_greenlet = sward::spawn(move || {
        report("recv, in a greenlet, ready", recv(hooked), recv(real));
        recv // keeps the socket open until here
    });
    drop(in_greenlet.join().expect("a figure"));
    sward::spawn(allocate).join().expect("a figure");
    identity();
    for connections in [1, 50] {
        compare_echoes(connections)?;
    }
    Ok(())
}

/// A mutex that is free, and a futex that nobody waits for.
fn lock_and_wake(whose: &str) {
    type OnMutex = unsafe extern "C" fn(*mut libc::pthread_mutex_t) -> c_int;
    type Futex = unsafe extern "C" fn(c_long, *const u32, c_int, c_int, usize, usize, usize) -> c_long;
    // SAFETY: the functions' types.
    let (lock, unlock): (OnMutex, OnMutex) =
        unsafe { (past_the_hooks(c"pthread_mutex_lock"), past_the_hooks(c"pthread_mutex_unlock")) };
    let mutex = RefCell::new(libc::PTHREAD_MUTEX_INITIALIZER);
    let pair = |lock: OnMutex, unlock: OnMutex| {
        let mutex = mutex.as_ptr();
        // SAFETY: a live mutex, locked before it is unlocked.
        move || unsafe { (black_box(lock)(mutex) + black_box(unlock)(mutex)) as isize }
    };
    let hooked = pair(libc::pthread_mutex_lock, libc::pthread_mutex_unlock);
    report(&format!("mutex, lock and unlock, {whose}"), hooked, pair(lock, unlock));
    // SAFETY: the function is variadic, and takes seven integers so (see `locks/futex.rs`).
    let hooked = unsafe { std::mem::transmute::<*const c_void, Futex>(libc::syscall as *const c_void) };
    // SAFETY: as above.
    let real: Futex = unsafe { past_the_hooks(c"syscall") };
    let wake = |syscall: Futex| {
        // SAFETY: a word that nobody waits for.
        move || unsafe { black_box(syscall)(libc::SYS_futex, &0, libc::FUTEX_WAKE | 128, 1, 0, 0, 0) as isize }
    };
    report(&format!("futex wake, {whose}"), wake(hooked), wake(real));
    let other = |syscall: Futex| {
        // SAFETY: takes numbers only.
        move || unsafe { black_box(syscall)(libc::SYS_getppid, std::ptr::null(), 0, 0, 0, 0, 0) as isize }
    };
    report(&format!("another system call, {whose}"), other(hooked), other(real));
}

/// The allocator in which nobody parks, and the one in it.
fn allocate() {
    fn pair(allocator: impl GlobalAlloc) -> impl Fn() -> isize {
        const LAYOUT: Layout = Layout::new::<[u64; 8]>();
        move || {
            // SAFETY: what is freed was allocated with that layout.
            unsafe {
                let place = black_box(allocator.alloc(LAYOUT));
                allocator.dealloc(place, LAYOUT);
            }
            0
        }
    }
    report("alloc and dealloc in patch::Allocator", pair(sward::patch::Allocator::new(System)), pair(System));
}

/// libc's own function.
///
/// # Safety
///
/// `F` must be its type.
unsafe fn past_the_hooks<F: Copy>(name: &CStr) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: libc is loaded; the caller vouches for the type.
    unsafe {
        let libc = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        let found = libc::dlsym(libc, name.as_ptr());
        assert!(!found.is_null());
        std::mem::transmute_copy(&found)
    }
}

fn report(what: &str, hooked: impl Fn() -> isize, real: impl Fn() -> isize) {
    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(round(&hooked));
        best[1] = best[1].min(round(&real));
    }
    let [hooked, real] = best;
    println!("{what:52} {hooked:7.1} ns, libc {real:7.1} ns, more {:5.1} ns", hooked - real);
}

/// Nanoseconds per call.
fn round(call: impl Fn() -> isize) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        black_box(call());
    }
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

/// A greenlet with thread-locals of its own, and one without.
fn identity() {
    /// Greenlets that yield to each other, or that are spawned and joined.
    const COUNT: u32 = 100;
    let spawn = |own: bool| if own { sward::Builder::new() } else { sward::Builder::new().shared_tls() };
    let yields = |own: bool| {
        let yielders =
            (0..COUNT).map(|_| spawn(own).spawn(|| (0..100).for_each(|_| sward::yield_now())).expect("a stack"));
        let yielders: Vec<_> = yielders.collect();
        let start = Instant::now();
        sward::join_all(yielders);
        start.elapsed().as_nanos() as f64 / f64::from(COUNT * 100)
    };
    let spawns = |own: bool| {
        let start = Instant::now();
        for _ in 0..COUNT {
            spawn(own).spawn(|| ()).expect("a stack").join().expect("an empty greenlet");
        }
        start.elapsed().as_nanos() as f64 / f64::from(COUNT)
    };
    for (what, round) in [("a switch and back", &yields as &dyn Fn(bool) -> f64), ("spawn and join", &spawns)] {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..ROUNDS / 8 {
            best = [best[0].min(round(true)), best[1].min(round(false))];
        }
        let [own, shared] = best;
        println!("{what:17} with own thread-locals {own:7.1} ns, shared {shared:7.1} ns, more {:5.1} ns", own - shared);
    }
    let parked = |own: bool| {
        const PARKED: usize = 10_000;
        let before = resident();
        let event = std::rc::Rc::new(sward::sync::Event::new());
        let parked = (0..PARKED).map(|_| {
            let event = event.clone();
            spawn(own).spawn(move || event.wait()).expect("a stack")
        });
        let parked: Vec<_> = parked.collect();
        sward::yield_now();
        let bytes = (resident() - before) as f64 / PARKED as f64;
        event.set();
        sward::join_all(parked);
        bytes / 1024.0
    };
    // First once, so that both find the stacks that the other has left.
    parked(false);
    let (own, shared) = (parked(true), parked(false));
    println!(
        "a parked greenlet: own thread-locals take {own:.1} KiB (with shared ones on used stacks: {shared:.1} KiB)"
    );
}

/// Memory of this process that is resident, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc is mounted");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("two numbers");
    pages * 4096
}

/// Client and server in one thread: std's sockets, patched, and sward's own in greenlets that share thread-locals.
fn compare_echoes(connections: usize) -> io::Result<()> {
    let mut best = [Duration::MAX; 2];
    for _ in 0..5 {
        best[0] = best[0].min(patched_echo(connections)?);
        best[1] = best[1].min(native_echo(connections)?);
    }
    let [patched, native] = best.map(|time| time.as_nanos() as f64 / REQUESTS as f64);
    let more = 100.0 * (patched / native - 1.0);
    println!(
        "echo, {connections:3} connections, CPU per request: std patched {patched:6.0} ns, sward::net {native:6.0} ns, {more:+.0} %"
    );
    Ok(())
}

fn patched_echo(connections: usize) -> io::Result<Duration> {
    let builder = sward::Builder::new;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let accept = move || listener.accept().map(|(stream, _)| stream);
    echo(builder, connections, accept, move || std::net::TcpStream::connect(address))
}

fn native_echo(connections: usize) -> io::Result<Duration> {
    let builder = || sward::Builder::new().shared_tls();
    let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let accept = move || listener.accept().map(|(stream, _)| stream);
    echo(builder, connections, accept, move || sward::net::TcpStream::connect(address))
}

/// CPU time of [`REQUESTS`] requests and answers of 64 bytes over so many connections.
fn echo<S: Read + Write + 'static>(
    builder: fn() -> sward::Builder,
    connections: usize,
    accept: impl Fn() -> io::Result<S> + 'static,
    connect: impl Fn() -> io::Result<S> + Clone + 'static,
) -> io::Result<Duration> {
    let serve = move || {
        for _ in 0..connections {
            let mut stream = accept().expect("a client");
            let answer = move || {
                let mut buffer = [0; 64];
                while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
            };
            builder().spawn(answer).expect("a stack");
        }
    };
    builder().spawn(serve)?;
    let before = cpu_time();
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let connect = connect.clone();
            let ask = move || -> io::Result<()> {
                let (mut stream, mut buffer) = (connect()?, [7; 64]);
                for _ in 0..REQUESTS / connections {
                    stream.write_all(&buffer)?;
                    stream.read_exact(&mut buffer)?;
                }
                Ok(())
            };
            builder().spawn(ask)
        })
        .collect::<io::Result<_>>()?;
    for client in sward::join_all(clients) {
        client.expect("no panic")?;
    }
    Ok(cpu_time() - before)
}

/// CPU time of this thread, user and system.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
