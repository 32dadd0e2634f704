//! The watchdog names who keeps a thread from all others.

mod support;

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use support::{FOREVER, SHORT, patient, watchdog};
use sward::inspect::{snapshot, watch};
use sward::lowlevel::{Direction, Source};
use sward::{Builder, sleep, spawn, yield_now};

/// In the environment of a child: it has to run the test's body.
const BODY: &str = "SWARD_TEST_WATCHED";

/// Runs `body` in a process of its own, under a watchdog, until the last of what it wants reported is; gives the lines
/// that were reported until then. A report is made by another thread, which takes its time to look up names.
fn reports_of(test: &str, body: impl FnOnce()) -> Vec<String> {
    reports_with(test, || (), body)
}

/// As [`reports_of`], and runs `before` before anything is watched.
fn reports_with(test: &str, before: impl FnOnce(), body: impl FnOnce()) -> Vec<String> {
    if std::env::var_os(BODY).is_some() {
        let _watchdog = watchdog();
        before();
        watch(patient());
        body();
        rude("the last");
        sleep(FOREVER);
    }
    let mut child =
        support::child_command(test, (BODY, "1")).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let lines: Vec<_> = lines.take_while(|line| !line.contains("\"the last\"")).collect();
    child.kill().unwrap();
    // It did not end before.
    assert!(!child.wait().unwrap().success(), "{lines:#?}");
    lines
}

/// How many lines contain `text`.
fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

/// Keeps the thread, by a call that is not green.
#[inline(never)]
fn keep_the_thread(limit: Duration) {
    thread::sleep(limit);
    black_box(());
}

/// Keeps the thread, and the processor.
#[inline(never)]
fn compute(limit: Duration) {
    let start = Instant::now();
    while start.elapsed() < limit {
        black_box(());
    }
}

/// Lets a greenlet keep the thread for too long.
fn rude(name: &str) {
    let greenlet = Builder::new().name(name).spawn(|| keep_the_thread(patient() * 5)).unwrap();
    greenlet.join().unwrap();
}

#[test]
fn who_keeps_the_thread_is_named_once_and_with_its_calls() {
    let lines = reports_of("who_keeps_the_thread_is_named_once_and_with_its_calls", || {
        let polite = spawn(|| sleep(FOREVER));
        let rude = Builder::new().name("rude").spawn(|| compute(patient() * 5)).unwrap();
        rude.join().unwrap();
        let row = snapshot().into_iter().find(|row| row.id == polite.id()).unwrap();
        assert!(row.cpu_time.unwrap() < patient());
        sleep(patient() * 3);
    });
    assert_eq!(count(&lines, "has not switched for"), 1, "{lines:#?}");
    assert!(lines[0].starts_with("sward: greenlet 2 \"rude\" (spawned at "), "{lines:#?}");
    assert_eq!(count(&lines, "watch::compute"), 1, "{lines:#?}");
    assert_eq!(count(&lines, "on_signal") + count(&lines, "spawn.rs"), 0, "{lines:#?}");
}

#[test]
fn a_thread_that_is_blocked_is_seen_and_the_call_goes_on() {
    let lines = reports_of("a_thread_that_is_blocked_is_seen_and_the_call_goes_on", || {
        let blocked = spawn(|| {
            let start = Instant::now();
            thread::sleep(patient() * 5);
            start.elapsed()
        });
        assert!(blocked.join().unwrap() >= patient() * 5);
    });
    assert_eq!(count(&lines, "greenlet 1 (spawned at "), 1, "{lines:#?}");
    assert!(count(&lines, "sleep") > 0, "{lines:#?}");
}

#[test]
fn the_root_is_reported_if_it_keeps_others_waiting() {
    let lines = reports_of("the_root_is_reported_if_it_keeps_others_waiting", || {
        // Alone, it keeps nobody waiting.
        keep_the_thread(patient() * 5);
        rude("in between");
        let g = spawn(|| sleep(SHORT));
        yield_now();
        keep_the_thread(patient() * 5);
        g.join().unwrap();
        // To wait is not to keep a thread.
        sleep(patient() * 3);
    });
    let between = lines.iter().position(|line| line.contains("in between")).unwrap();
    assert_eq!(count(&lines[..between], "the root has not switched for"), 0, "{lines:#?}");
    assert_eq!(count(&lines[between..], "the root has not switched for"), 1, "{lines:#?}");
}

#[test]
fn all_hubs_are_watched_also_where_another_has_ended() {
    let lines = reports_of("all_hubs_are_watched_also_where_another_has_ended", || {
        for round in 0..3 {
            let threads = [(); 2].map(|()| thread::spawn(move || rude(&format!("rude {round}"))));
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
    for round in 0..3 {
        let name = format!("greenlet 1 \"rude {round}\"");
        assert_eq!(count(&lines, &name), 2, "{lines:#?}");
    }
    assert_eq!(count(&lines, "has not switched for"), 6, "{lines:#?}");
}

#[test]
fn a_limit_can_be_changed_and_taken_back() {
    let lines = reports_of("a_limit_can_be_changed_and_taken_back", || {
        watch(Duration::MAX);
        rude("unlimited");
        watch(FOREVER);
        rude("within the limit");
        watch(patient());
        rude("beyond the limit");
    });
    assert_eq!(count(&lines, "limit\" (spawned"), 1, "{lines:#?}");
    assert_eq!(count(&lines, "beyond the limit"), 1, "{lines:#?}");
}

#[test]
fn a_handler_of_the_signal_from_before_is_still_called() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let urgent = rustix::process::Signal::URG;
    let before = || _ = sward::signal::on(urgent.as_raw(), || _ = CALLS.fetch_add(1, Ordering::Relaxed)).unwrap();
    let lines = reports_with("a_handler_of_the_signal_from_before_is_still_called", before, || {
        rustix::process::kill_process(rustix::process::getpid(), urgent).unwrap();
        while CALLS.load(Ordering::Relaxed) == 0 {
            sleep(SHORT);
        }
        // Also by the watchdog's own signal: the kernel may have made one of two.
        let calls = CALLS.load(Ordering::Relaxed);
        rude("rude");
        while CALLS.load(Ordering::Relaxed) == calls {
            sleep(SHORT);
        }
    });
    assert_eq!(count(&lines, "\"rude\""), 1, "{lines:#?}");
    assert!(count(&lines, "keep_the_thread") > 0, "{lines:#?}");
}

#[test]
fn a_thread_that_blocks_the_signal_is_reported_without_calls() {
    let lines = reports_of("a_thread_that_blocks_the_signal_is_reported_without_calls", || {
        // SAFETY: a set of signals that is made here, for this thread.
        unsafe {
            let mut signals = std::mem::zeroed();
            libc::sigemptyset(&mut signals);
            libc::sigaddset(&mut signals, libc::SIGURG);
            libc::pthread_sigmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut());
            spawn(|| keep_the_thread(patient() * 5 + Duration::from_secs(2))).join().unwrap();
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &signals, std::ptr::null_mut());
        }
    });
    assert!(lines[0].starts_with("sward: greenlet 1 has not switched for "), "{lines:#?}");
    assert_eq!((count(&lines, "greenlet 1"), count(&lines, "keep_the_thread")), (1, 0), "{lines:#?}");
}

#[test]
fn what_the_hub_does_between_two_greenlets_is_not_said_to_be_the_roots() {
    struct Slow(AtomicBool);
    impl Wake for Slow {
        fn wake(self: Arc<Self>) {
            keep_the_thread(patient() * 5);
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let lines = reports_of("what_the_hub_does_between_two_greenlets_is_not_said_to_be_the_roots", || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = Source::new(ours);
        let slow = Arc::new(Slow(AtomicBool::new(false)));
        let waker = Waker::from(slow.clone());
        let read = || ours.poll_with(Direction::Read, &mut Context::from_waker(&waker), |mut io| io.read(&mut [0]));
        assert!(read().is_pending());
        (&theirs).write_all(b"!").unwrap();
        let busy = spawn(|| {
            loop {
                yield_now();
            }
        });
        while !slow.0.load(Ordering::Relaxed) {
            yield_now();
        }
        busy.kill();
    });
    assert_eq!(count(&lines, ", or its hub after it, has not switched for "), 1, "{lines:#?}");
}

#[test]
fn a_forked_child_is_not_watched_until_it_asks() {
    let lines = reports_of("a_forked_child_is_not_watched_until_it_asks", || {
        let run = |body: fn()| {
            // SAFETY: the child runs `body`, as a thread of the parent's would, and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                body();
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) };
            }
            // SAFETY: a child of ours; nobody wants its status.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        };
        run(|| rude("unwatched"));
        run(|| {
            watch(patient());
            // Its report must be out before the child ends.
            rude("watched");
            thread::sleep(patient() * 5);
        });
    });
    assert_eq!(count(&lines, "unwatched"), 0, "{lines:#?}");
    assert_eq!(count(&lines, "\"watched\""), 1, "{lines:#?}");
}
