//! Greenlets of one thread.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use sward::sync::{Event, Mutex, Pool, Queue, RwLock, Semaphore};
use sward::{scope, spawn, yield_now};

/// In a greenlet, since that is where programs spend their time.
fn timed(body: impl FnOnce() + 'static) -> Duration {
    let greenlet = spawn(move || {
        let start = Instant::now();
        body();
        start.elapsed()
    });
    greenlet.join().unwrap()
}

/// Times it.
pub(crate) fn mutex(count: u64) -> Duration {
    timed(move || {
        let mutex = black_box(Mutex::new(0_u64));
        for _ in 0..count {
            *black_box(&mutex).lock() += 1;
        }
        assert_eq!(mutex.into_inner(), count);
    })
}

/// Times it.
pub(crate) fn semaphore(count: u64) -> Duration {
    timed(move || {
        let semaphore = black_box(Semaphore::new(1));
        for _ in 0..count {
            drop(black_box(&semaphore).acquire());
        }
    })
}

/// Times it.
pub(crate) fn rwlock(count: u64) -> Duration {
    timed(move || {
        let lock = black_box(RwLock::new(0_u64));
        for _ in 0..count {
            black_box(*black_box(&lock).read());
        }
    })
}

/// Times it.
pub(crate) fn held_mutex(count: u64) -> Duration {
    let mutex = Mutex::new(0_u64);
    let start = Instant::now();
    scope(|s| {
        for _ in 0..100 {
            s.spawn(|| {
                for _ in 0..count / 100 {
                    let mut guard = mutex.lock();
                    yield_now();
                    *guard += 1;
                }
            });
        }
    });
    start.elapsed()
}

/// Times it.
pub(crate) fn ping_pong(count: u64) -> Duration {
    let (there, back) = (Queue::bounded(1), Queue::bounded(1));
    let start = Instant::now();
    scope(|s| {
        s.spawn(|| {
            for n in 0..count {
                there.put(n).unwrap();
                assert_eq!(back.get(), Some(n));
            }
            there.close();
        });
        s.spawn(|| {
            while let Some(n) = there.get() {
                back.put(n).unwrap();
            }
        });
    });
    start.elapsed()
}

/// Times it.
pub(crate) fn stream(count: u64) -> Duration {
    let queue = Queue::bounded(1024);
    let sum = Cell::new(0);
    let start = Instant::now();
    scope(|s| {
        s.spawn(|| {
            for n in 0..count {
                queue.put(n).unwrap();
            }
            queue.close();
        });
        s.spawn(|| {
            let mut total = 0;
            while let Some(n) = queue.get() {
                total += n;
            }
            sum.set(total);
        });
    });
    assert_eq!(sum.get(), count * (count - 1) / 2);
    start.elapsed()
}

/// Times it.
pub(crate) fn event(count: u64) -> Duration {
    let event = Event::new();
    let woken = Cell::new(0);
    let rounds = count / 1000;
    scope(|s| {
        for _ in 0..1000 {
            s.spawn(|| {
                for _ in 0..rounds {
                    event.wait();
                    woken.set(woken.get() + 1);
                }
            });
        }
        yield_now(); // all wait
        let start = Instant::now();
        for _ in 0..rounds {
            event.set();
            event.clear();
            yield_now(); // all run, and wait again
        }
        assert_eq!(woken.get(), rounds * 1000);
        start.elapsed()
    })
}

/// Times it.
pub(crate) fn pool(count: u64) -> Duration {
    let pool = Pool::new(100);
    let start = Instant::now();
    for n in 0..count {
        pool.spawn(move || black_box(n));
    }
    pool.join();
    start.elapsed()
}
