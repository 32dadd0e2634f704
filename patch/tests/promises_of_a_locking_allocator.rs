//! An allocator that takes a lock of libc's which another thread holds: wherever in the runtime that happens, the hub is in
//! the middle of something.

#[path = "support/locking_allocator.rs"]
mod locking_allocator;
mod support;

use std::os::fd::FromRawFd;
use std::thread;
use std::time::Duration;

use locking_allocator::{Locking, each_allocation_waits};
use support::ms;

#[global_allocator]
static ALLOCATOR: Locking = Locking;

/// Some of all that a hub does, on descriptors and timers that it has not seen.
fn work() {
    let base = 500;
    let waits = (0..3).map(|at| {
        sward::spawn(move || {
            let mut pipe = [0; 2];
            // SAFETY: a place for two descriptors, which are this greenlet's; and a number that nobody uses.
            let (reads, writes) = unsafe {
                assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
                assert_eq!(libc::dup2(pipe[0], base + at * 200), base + at * 200);
                libc::close(pipe[0]);
                (std::fs::File::from_raw_fd(base + at * 200), std::fs::File::from_raw_fd(pipe[1]))
            };
            let writer = sward::spawn(move || {
                thread::sleep(Duration::from_micros(100));
                std::io::Write::write_all(&mut &writes, b"x").unwrap();
            });
            let mut byte = [0];
            let read = sward::timeout(ms(5000), || std::io::Read::read(&mut &reads, &mut byte).unwrap());
            assert_eq!(read, Ok(1));
            writer.join().unwrap();
        })
    });
    let sleeps = (0..5).map(|at| {
        sward::spawn(move || {
            let killed = sward::spawn(|| sward::sleep(Duration::from_secs(60)));
            sward::sleep(Duration::from_micros(10 * at));
            killed.kill();
            killed.join().unwrap_err();
        })
    });
    let event = std::rc::Rc::new(sward::sync::Event::new());
    let crowd = (0..6).map(|_| {
        let event = event.clone();
        sward::spawn(move || event.wait())
    });
    let mut all: Vec<_> = waits.chain(sleeps).chain(crowd).collect();
    for greenlet in &all {
        greenlet.link(|_| ());
        greenlet.link(|_| ());
    }
    all.push(sward::spawn(move || {
        sward::yield_now();
        event.set();
    }));
    let either = std::rc::Rc::new([const { sward::sync::Event::new() }; 2]);
    let theirs = either.clone();
    all.push(sward::spawn(move || assert_eq!(sward::wait_any(&[&theirs[0], &theirs[1]]), 1)));
    all.push(sward::spawn(move || {
        sward::sleep(ms(1));
        either[1].set();
    }));
    sward::join_all(all).into_iter().for_each(|result| result.unwrap());
}

#[test]
fn an_allocator_that_waits_for_a_lock_parks_nobody_in_the_middle_of_the_hubs_work() {
    each_allocation_waits("an_allocator_that_waits_for_a_lock_parks_nobody_in_the_middle_of_the_hubs_work", work);
}
