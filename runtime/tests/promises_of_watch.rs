//! The watchdog names who keeps a thread from all others.

mod support;

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use support::{FOREVER, SHORT, patient, watchdog};
use sward::inspect::{snapshot, watch};
use sward::{Builder, sleep, spawn, yield_now};

/// In the environment of a child: it has to run the test's body.
const BODY: &str = "SWARD_TEST_WATCHED";

/// Runs `body` in a process of its own, under a watchdog, until the last of what it wants reported is; gives the lines
/// that were reported until then. A report is made by another thread, which takes its time to look up names.
fn reports_of(test: &str, body: impl FnOnce()) -> Vec<String> {
    if std::env::var_os(BODY).is_some() {
        let _watchdog = watchdog();
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

/// Keeps the thread.
#[inline(never)]
fn keep_the_thread(limit: Duration) {
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
        rude("rude");
        let row = snapshot().into_iter().find(|row| row.id == polite.id()).unwrap();
        assert!(row.cpu_time.unwrap() < patient());
        sleep(patient() * 3);
    });
    assert_eq!(count(&lines, "has not switched for"), 1, "{lines:#?}");
    assert!(lines[0].starts_with("sward: greenlet 2 \"rude\" (spawned at "), "{lines:#?}");
    assert_eq!(count(&lines, "keep_the_thread"), 1, "{lines:#?}");
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let lines = reports_of("a_handler_of_the_signal_from_before_is_still_called", || {
        watch(FOREVER);
        let urgent = rustix::process::Signal::URG;
        let watched = sward::signal::on(urgent.as_raw(), || _ = CALLS.fetch_add(1, Ordering::Relaxed)).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), urgent).unwrap();
        while CALLS.load(Ordering::Relaxed) == 0 {
            sleep(SHORT);
        }
        watched.kill();
        watched.wait();
        watch(patient());
        rude("rude");
    });
    assert_eq!(count(&lines, "\"rude\""), 1, "{lines:#?}");
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
