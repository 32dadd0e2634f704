//! Fork: the child gets a hub of its own, and the parent's is undisturbed.

mod support;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use support::{CountDrop, FOREVER, SHORT, watchdog};
use sward::lowlevel::Source;

/// Runs `child` in a forked child and returns the status that it exits with; its return value is that status.
fn fork(child: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: what the child does after this is what this file tests; it allocates, which glibc makes safe after a
    // fork, and ends without running the destructors of the parent's threads.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let status = catch_unwind(AssertUnwindSafe(child)).unwrap_or(99);
            // SAFETY: ends the child without the test harness's exit handlers.
            unsafe { libc::_exit(status) }
        }
        pid => pid,
    }
}

/// Waits for a child without blocking the hub, and gives its exit status.
fn status(pid: libc::pid_t) -> i32 {
    let begin = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for writing.
        match unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } {
            0 if begin.elapsed() < support::generous() / 2 => sward::sleep(SHORT),
            0 => {
                // SAFETY: the child is ours and has not been waited for.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                panic!("the child hangs");
            }
            _ if libc::WIFEXITED(status) => return libc::WEXITSTATUS(status),
            _ => return -status,
        }
    }
}

/// Uses everything that a hub has; 0 if it works.
fn use_a_hub() -> i32 {
    assert_eq!(sward::current().id().to_string(), "0");
    let greenlet = sward::spawn(|| {
        sward::sleep(SHORT);
        3
    });
    assert_eq!(greenlet.join().unwrap(), 3);
    let (ours, peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let source = Source::new(ours);
    let closer = sward::spawn(move || drop(peer));
    assert_eq!(source.read_with("test", None, |mut stream| stream.read(&mut [0; 8])).unwrap(), 0);
    closer.join().unwrap();
    assert!(sward::timeout(SHORT, || sward::sleep(FOREVER)).is_err());
    0
}

#[test]
fn the_child_gets_a_fresh_hub_and_the_parent_goes_on() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = CountDrop(drops.clone());
    let sleeper = sward::spawn(move || {
        let _counter = counter;
        sward::sleep(SHORT * 4);
        5
    });
    sward::yield_now();
    let theirs = drops.clone();
    let pid = fork(move || use_a_hub() + theirs.load(SeqCst) as i32);
    assert_eq!(status(pid), 0);
    assert_eq!(sleeper.join().unwrap(), 5);
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn a_fork_in_a_greenlet_makes_it_the_childs_root() {
    let _watchdog = watchdog();
    let sibling = sward::spawn(|| sward::sleep(SHORT));
    let greenlet = sward::spawn(|| fork(use_a_hub));
    assert_eq!(status(greenlet.join().unwrap()), 0);
    sibling.join().unwrap();
}

#[test]
fn a_greenlet_that_returns_in_the_child_ends_the_child() {
    let _watchdog = watchdog();
    for (panics, expected) in [(false, 0), (true, 101)] {
        let greenlet = sward::spawn(move || {
            // SAFETY: as in `fork`; the child ends with this greenlet.
            let pid = unsafe { libc::fork() };
            if pid == 0 && panics {
                std::panic::resume_unwind(Box::new(0));
            }
            pid
        });
        assert_eq!(status(greenlet.join().unwrap()), expected);
    }
}

#[test]
fn run_and_scope_in_the_child_leave_the_parents_greenlets_alone() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let (counter, theirs) = (CountDrop(drops.clone()), drops.clone());
    let sleeper = sward::spawn(move || {
        let _counter = counter;
        sward::sleep(SHORT * 4);
    });
    sward::yield_now();
    // The fork happens inside `run`, whose end then comes twice: here and in the child.
    let parent = std::process::id();
    let pid = sward::run(|| {
        // SAFETY: as in `fork`; the child exits below.
        let pid = unsafe { libc::fork() };
        if pid != 0 {
            sleeper.wait();
        }
        pid
    });
    if std::process::id() != parent {
        // SAFETY: ends the child without the test harness's exit handlers.
        unsafe { libc::_exit(theirs.load(SeqCst) as i32) };
    }
    assert_eq!(status(pid), 0, "destructors of the parent's greenlets ran in the child");
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn the_end_of_a_scope_in_the_child_does_not_wait_for_the_parents_children() {
    let _watchdog = watchdog();
    let parent = std::process::id();
    let pid = sward::scope(|scope| {
        let child = scope.spawn(|| sward::sleep(SHORT));
        sward::yield_now();
        // SAFETY: as in `fork`; the child exits below.
        let pid = unsafe { libc::fork() };
        if pid != 0 {
            child.wait();
        }
        pid
    });
    if std::process::id() != parent {
        // SAFETY: ends the child without the test harness's exit handlers.
        unsafe { libc::_exit(0) };
    }
    assert_eq!(status(pid), 0);
}

#[test]
fn handles_and_sources_of_the_parent_are_harmless_in_the_child() {
    let _watchdog = watchdog();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let source = Source::new(ours);
    assert!(source.read_with("test", Some(Instant::now() + SHORT), |mut stream| stream.read(&mut [0; 8])).is_err());
    let source = std::cell::RefCell::new(Some(source));
    let (handle, greenlet) = (sward::handle(), sward::spawn(|| sward::sleep(SHORT)));
    let unparker = sward::lowlevel::RemoteUnparker::current();
    let pid = fork(|| {
        unparker.unpark();
        greenlet.kill();
        assert!(!greenlet.is_finished());
        drop(handle.spawn(|| std::process::exit(9)));
        drop(source.take());
        use_a_hub()
    });
    assert_eq!(status(pid), 0);
    greenlet.join().unwrap();
    std::io::Write::write_all(&mut peer, b"x").unwrap();
    let source = source.take().unwrap();
    let count = source.read_with("test", None, |mut stream| stream.read(&mut [0; 8]));
    assert_eq!(count.unwrap(), 1, "still registered here");
}

/// Other threads make and end hubs all the time: the list of them may be locked at the fork.
#[test]
fn a_child_knows_of_its_own_hub_only_whatever_others_did_at_the_fork() {
    let _watchdog = watchdog();
    // The list of hubs is what is tested, not the first hub of a process.
    sward::yield_now();
    let over = Arc::new(AtomicUsize::new(0));
    let threads = [(); 2].map(|()| {
        let over = over.clone();
        std::thread::spawn(move || {
            while over.load(SeqCst) == 0 {
                std::thread::spawn(|| sward::spawn(|| ()).join().unwrap()).join().unwrap();
            }
        })
    });
    for _ in 0..100 {
        let child = fork(|| {
            let hubs = sward::inspect::hubs(FOREVER);
            i32::from(hubs.len() != 1 || !hubs[0].is_current() || hubs[0].greenlets.len() != 1)
        });
        assert_eq!(status(child), 0);
    }
    over.store(1, SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
