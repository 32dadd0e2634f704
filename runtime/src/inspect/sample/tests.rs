//! A thread that is asked all the time, whatever it does just then.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{install, take, this_thread};
use crate::hub::hub;
use crate::source::Source;
use crate::{join_all, sleep, spawn, yield_now};

/// What one greenlet does, `n` being its number: a bit of all. Gives a sum that is known.
fn work(n: u64) -> u64 {
    let numbers: Vec<_> = (0..50).map(|i| Box::new(n + i)).collect();
    yield_now();
    let caught = catch_unwind(|| -> u64 {
        let on_the_way = Dropped(n);
        resume_unwind(Box::new(on_the_way.0));
    });
    let payload = *caught.unwrap_err().downcast::<u64>().unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let reader = spawn(move || {
        let source = Source::new(theirs);
        let mut byte = [0];
        source.read_with("reading", None, |mut io: &UnixStream| io.read_exact(&mut byte)).unwrap();
        u64::from(byte[0])
    });
    yield_now();
    ours.write_all(&[n as u8]).unwrap();
    sleep(Duration::from_micros(50));
    numbers.into_iter().map(|number| *number - n).sum::<u64>() + payload - n + reader.join().unwrap() - n % 256
}

/// Has a destructor, which an unwinding has to call.
struct Dropped(u64);

impl Drop for Dropped {
    fn drop(&mut self) {
        yield_now();
    }
}

/// Loads and unloads something.
fn load() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a part of libc without an initialiser of consequence.
    unsafe {
        let library = libc::dlopen(c"libBrokenLocale.so.1".as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null());
        libc::dlclose(library);
    }
}

/// What one greenlet does if switches are all that is to be done.
fn switch(n: u64) -> u64 {
    (0..50).fold(n, |sum, i| {
        yield_now();
        sum + i
    }) - n
}

#[test]
fn a_thread_that_is_asked_all_the_time_does_its_work() {
    install();
    asked_all_the_time(work);
    // In the middle of a switch the stack cannot be walked.
    asked_all_the_time(switch);
}

/// Asks a thread as often as it gets an answer, while 100 greenlets at a time do `part` on it.
fn asked_all_the_time(part: fn(u64) -> u64) {
    /// Answers to wait for.
    const MOST: usize = 3000;
    let (thread, serial, enough) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let greenlets = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            serial.store(hub().serial, Ordering::Relaxed);
            thread.store(this_thread(), Ordering::Release);
            while !enough.load(Ordering::Relaxed) {
                let greenlets = (0..100).map(|n| spawn(move || part(n)));
                for sum in join_all(greenlets) {
                    assert_eq!(sum.unwrap(), 50 * 49 / 2);
                }
                load();
            }
        });
        let thread = std::iter::repeat_with(|| thread.load(Ordering::Acquire)).find(|thread| *thread != 0).unwrap();
        let answers = std::iter::repeat_with(|| take(thread)).take_while(|_| !worker.is_finished());
        let samples = answers.flatten().take(MOST);
        let greenlets = samples.filter(|sample| {
            assert_eq!(sample.hub, serial.load(Ordering::Relaxed));
            assert_eq!(sample.id.is_none(), sample.calls.is_empty());
            sample.id.is_some_and(|id| id != 0)
        });
        let greenlets = greenlets.count();
        enough.store(true, Ordering::Relaxed);
        greenlets
    });
    assert!(greenlets > 0);
}
