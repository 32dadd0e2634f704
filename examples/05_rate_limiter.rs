//! A rate limiter: a `Semaphore` whose permits are not given back but refilled by a clock.
//!
//! `cargo run --example 05_rate_limiter`; the chapter is `docs/guide/05_rate_limiter.md`.

use std::rc::Rc;
use std::time::{Duration, Instant};

use sward::Greenlet;
use sward::sync::Semaphore;

/// Calls that may be made at once.
const BURST: usize = 3;
/// The time after which one more may be made.
const INTERVAL: Duration = Duration::from_millis(50);
/// Calls that this program makes.
const CALLS: usize = 10;

fn main() {
    let limiter = RateLimiter::new(BURST, INTERVAL);
    let start = Instant::now();
    sward::scope(|s| {
        for n in 0..CALLS {
            let limiter = &limiter;
            s.spawn(move || {
                limiter.wait();
                println!("{:4} ms: call {n}", start.elapsed().as_millis());
            });
        }
    });
    let least = INTERVAL * (CALLS - BURST) as u32;
    assert!(start.elapsed() >= least, "{CALLS} calls take at least {least:?}");

    // A caller that cannot wait that long gives up, and takes no permit with it.
    let impatient = sward::timeout(INTERVAL / 10, || limiter.wait());
    println!("impatient caller: {impatient:?}");
}

/// Lets calls through: a few at once, then one per interval.
struct RateLimiter {
    /// A permit for each call that may be made now.
    permits: Rc<Semaphore>,
    /// Adds the permits.
    refill: Greenlet<()>,
}

impl RateLimiter {
    fn new(burst: usize, interval: Duration) -> RateLimiter {
        let permits = Rc::new(Semaphore::new(burst));
        let refill = sward::spawn({
            let permits = permits.clone();
            move || {
                let mut next = Instant::now();
                loop {
                    next += interval;
                    sward::sleep_until(next); // does not drift
                    if permits.available_permits() < burst {
                        permits.add_permits(1);
                    }
                }
            }
        });
        RateLimiter { permits, refill }
    }

    /// Waits for its turn: first come, first served.
    fn wait(&self) {
        self.permits.acquire().forget(); // used up, not given back
    }
}

impl Drop for RateLimiter {
    fn drop(&mut self) {
        self.refill.kill();
    }
}
