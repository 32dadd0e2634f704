//! Panics and unwinding: a panic ends its greenlet only, and nobody else ever notices that a greenlet unwinds.

mod support;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use support::{FOREVER, Flag, Log, OnDrop, SHORT, watchdog};
use sward::lowlevel::{Source, WaitQueue, Waited, Wake, park};

#[test]
fn a_detached_panic_is_one_line_with_name_and_spawn_site() {
    let output = support::in_child("a_detached_panic_is_one_line_with_name_and_spawn_site", || {
        drop(sward::Builder::new().name("lonely").spawn(|| panic!("unseen")).unwrap());
        sward::yield_now();
        // The handle is dropped after the end.
        let late = sward::spawn(|| panic!("unseen too"));
        late.wait();
        drop(late);
        // Joined or linked: somebody has seen it.
        assert!(sward::spawn(|| panic!("joined")).join().is_err());
        let linked = sward::spawn(|| panic!("linked"));
        linked.link(|result| assert!(result.is_err()));
        drop(linked);
        sward::sleep(SHORT);
    });
    assert!(output.status.success());
    let lines = support::our_lines(&output);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("\"lonely\"") && lines[0].contains("promises_of_panic.rs:"), "{lines:#?}");
    assert!(lines[1].contains("promises_of_panic.rs:"), "{lines:#?}");
}

#[test]
fn a_panic_while_another_greenlet_is_parked_in_accept_does_not_disturb_it() {
    let _watchdog = watchdog();
    let path = std::env::temp_dir().join(format!("sward-accept-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let acceptor = sward::spawn(move || {
        let listener = Source::new(listener);
        listener.read_with("accept", None, |listener| listener.accept()).map(|_| ())
    });
    sward::yield_now();
    assert!(sward::spawn(|| panic!("meanwhile")).join().unwrap_err().is_panic());
    assert!(!acceptor.is_finished());
    let _client = UnixStream::connect(&path).unwrap();
    acceptor.join().unwrap().unwrap();
    let _ = std::fs::remove_file(&path);
}

/// What blocks in a destructor of a greenlet that unwinds.
fn unwinding(blocks: impl FnMut() + 'static) -> sward::Greenlet<()> {
    sward::spawn(move || {
        let _at_unwinding = OnDrop(blocks);
        panic!("unwinds");
    })
}

#[test]
fn a_destructor_that_sleeps_yields_or_reads_never_switches_while_unwinding() {
    let _watchdog = watchdog();
    let log = Log::new();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let source = Source::new(ours);
    let inside = log.clone();
    let dying = unwinding(move || {
        let begin = Instant::now();
        inside.add("begin");
        sward::sleep(SHORT);
        sward::sleep_until(Instant::now() + SHORT);
        assert!(begin.elapsed() >= SHORT * 2, "it blocks the thread instead");
        sward::yield_now();
        let mut buffer = [0; 8];
        let late = Some(Instant::now() + SHORT);
        let error = source.read_with("test", late, |mut stream| stream.read(&mut buffer)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(source.wait_readable(late).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        source.wait_writable(None).unwrap();
        theirs.write_all(b"data").unwrap();
        assert_eq!(source.read_with("test", None, |mut stream| stream.read(&mut buffer)).unwrap(), 4);
        assert_eq!(sward::offload(|| 5), 5);
        assert_eq!(park(Some(Instant::now() + FOREVER)), Wake::TimedOut);
        inside.add("end");
    });
    let sibling = sward::spawn({
        let log = log.clone();
        move || {
            assert!(!std::thread::panicking());
            log.add("sibling");
        }
    });
    sibling.join().unwrap();
    assert!(dying.join().unwrap_err().is_panic());
    assert_eq!(log.take(), "begin end sibling");
}

#[test]
fn siblings_never_see_that_a_greenlet_unwinds() {
    let _watchdog = watchdog();
    let seen = Rc::new(Cell::new(0));
    let siblings: Vec<_> = (0..3)
        .map(|_| {
            let seen = seen.clone();
            sward::spawn(move || {
                for _ in 0..20 {
                    assert!(!std::thread::panicking());
                    seen.set(seen.get() + 1);
                    sward::yield_now();
                }
            })
        })
        .collect();
    let victims: Vec<_> = (0..10)
        .map(|n| {
            sward::spawn(move || {
                let _sleeps = OnDrop(|| sward::sleep(Duration::from_micros(100)));
                if n % 2 == 0 {
                    panic!("unwinds");
                }
                sward::sleep(FOREVER);
            })
        })
        .collect();
    sward::yield_now();
    victims.iter().for_each(sward::Greenlet::kill);
    sward::join_all(victims).iter().for_each(|result| assert!(result.is_err()));
    sward::join_all(siblings).into_iter().for_each(|result| result.unwrap());
    assert_eq!(seen.get(), 60);
}

#[test]
fn a_wait_that_can_give_up_gives_up_while_unwinding() {
    let _watchdog = watchdog();
    let endless = sward::spawn(|| sward::sleep(FOREVER));
    let queue = Rc::new(WaitQueue::<u8>::new());
    let begin = Instant::now();
    let dying = unwinding(move || {
        assert!(!endless.wait_timeout(FOREVER));
        assert_eq!(sward::wait_any_timeout(&[&endless], FOREVER), None);
        assert_eq!(queue.wait("test", 1, Some(Instant::now() + FOREVER)), Waited::TimedOut(1));
        assert!(queue.is_empty());
        endless.kill();
    });
    assert!(dying.join().unwrap_err().is_panic());
    assert!(begin.elapsed() < FOREVER);
}

#[test]
fn what_succeeds_at_once_works_while_unwinding() {
    let _watchdog = watchdog();
    let done = sward::spawn(|| 5);
    done.wait();
    let ok = Flag::new();
    let theirs = ok.clone();
    let holder = RefCell::new(Some(done));
    let dying = unwinding(move || {
        let done = holder.take().unwrap();
        assert_eq!(sward::wait_any(&[&done]), 0);
        assert_eq!(done.join().unwrap(), 5);
        assert_eq!(sward::block_on(async { 6 }), 6);
        assert_eq!(sward::timeout(SHORT, || sward::shield(|| 7)), Ok(7));
        assert_eq!(sward::scope(|_| 8), 8);
        drop(sward::spawn(|| ()));
        theirs.raise();
    });
    assert!(dying.join().unwrap_err().is_panic());
    assert!(ok.is_raised());
}

#[test]
fn a_wait_that_only_another_greenlet_could_end_aborts_and_names_the_call() {
    const NAME: &str = "a_wait_that_only_another_greenlet_could_end_aborts_and_names_the_call";
    const WHICH: &str = "SWARD_TEST_CALL";
    let calls: [(&str, fn()); 8] = [
        ("Lock::lock", || _ = WaitQueue::<()>::new().wait("Lock::lock", (), None)),
        ("Greenlet::join", || drop(sward::spawn(|| ()).join())),
        ("Greenlet::wait", || sward::spawn(|| ()).wait()),
        ("wait_any", || _ = sward::wait_any(&[&sward::spawn(|| ())])),
        ("park", || _ = park(None)),
        ("block_on", || sward::block_on(std::future::pending())),
        ("RemoteGreenlet::join", || drop(sward::handle().spawn(|| ()).join())),
        ("scope", || sward::scope(|scope| drop(scope.spawn(|| ())))),
    ];
    if let Ok(which) = std::env::var(WHICH) {
        support::in_child(NAME, || {
            let call = calls.iter().find(|(name, _)| *name == which).unwrap().1;
            let named = sward::Builder::new().name("the dying");
            let dying = named.spawn(move || {
                let _at_unwinding = OnDrop(call);
                sward::sleep(FOREVER);
            });
            let dying = dying.unwrap();
            sward::yield_now();
            dying.kill();
            let _ = dying.join();
        });
    }
    for (name, _) in calls {
        // Only this test's children look at it, and nothing else in this process writes the environment.
        let output = support::child_with(NAME, (WHICH, name));
        assert!(!output.status.success(), "{name}");
        let lines = support::our_lines(&output);
        assert_eq!(lines.len(), 1, "{name}: {lines:#?}");
        assert!(lines[0].contains(&format!("sward: {name} in a destructor")), "{lines:#?}");
        assert!(lines[0].contains("\"the dying\""), "{lines:#?}");
    }
}

#[test]
fn destructors_run_once_each_at_every_kind_of_end() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let ends: [fn(); 4] = [
        || (),
        || panic!("an end"),
        || std::panic::resume_unwind(Box::new(5)),
        || {
            sward::current().kill();
            sward::yield_now();
        },
    ];
    for end in ends {
        let (captured, theirs) = (support::CountDrop(drops.clone()), drops.clone());
        let greenlet = sward::spawn(move || {
            let _captured = captured;
            let _local = support::CountDrop(theirs);
            end();
        });
        greenlet.wait();
        assert_eq!(drops.swap(0, SeqCst), 2);
        let _ = greenlet.join();
    }
}

#[test]
fn an_interrupt_caught_in_one_greenlet_and_resumed_in_another_ends_that_one_quietly() {
    let _watchdog = watchdog();
    let caught = Rc::new(RefCell::new(None));
    let theirs = caught.clone();
    let first = sward::spawn(move || {
        let payload = sward::timeout(SHORT, || catch_unwind(|| sward::sleep(FOREVER)).unwrap_err());
        theirs.replace(Some(payload.unwrap()));
    });
    first.join().unwrap();
    let payload = caught.take().unwrap();
    let second = sward::spawn(move || {
        let outcome = sward::timeout(FOREVER, AssertUnwindSafe(|| std::panic::resume_unwind(payload)));
        assert!(outcome.is_err(), "not this timeout's");
    });
    assert!(second.join().is_err());
    assert_eq!(sward::spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn a_stderr_that_nobody_reads_harms_no_greenlet() {
    const NAME: &str = "a_stderr_that_nobody_reads_harms_no_greenlet";
    const INNER: &str = "SWARD_TEST_BROKEN_STDERR";
    if std::env::var_os(INNER).is_some() {
        support::in_child(NAME, || {
            drop(sward::spawn(|| panic!("unseen")));
            sward::yield_now();
            assert_eq!(sward::spawn(|| 5).join().unwrap(), 5);
            std::process::exit(5);
        });
    }
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    let mut child = support::child_command(NAME, (INNER, "1"));
    let status = child.stderr(std::os::fd::OwnedFd::from(writer)).status().unwrap();
    assert_eq!(status.code(), Some(5));
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_never_unwinds_into_the_hub() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the bomb");
        }
    }
    let output = support::in_child("a_payload_that_panics_when_it_is_dropped_never_unwinds_into_the_hub", || {
        // A result whose destructor panics with a payload whose destructor panics.
        drop(sward::spawn(|| OnDrop(|| std::panic::panic_any(Bomb))));
        sward::yield_now();
        assert_eq!(sward::spawn(|| 1).join().unwrap(), 1);
        std::process::exit(5);
    });
    let lines = support::stderr_lines(&output);
    let aborted = !output.status.success() && lines.iter().any(|line| line.contains("aborting"));
    assert!(aborted || output.status.code() == Some(5), "{:#?}", support::stderr_lines(&output));
}

#[test]
fn a_result_that_panics_when_nobody_wants_it_is_one_line_of_ours() {
    let output = support::in_child("a_result_that_panics_when_nobody_wants_it_is_one_line_of_ours", || {
        drop(sward::spawn(|| OnDrop(|| panic!("a destructor"))));
        sward::yield_now();
        assert_eq!(sward::spawn(|| 1).join().unwrap(), 1);
    });
    assert!(output.status.success());
    let lines = support::our_lines(&output);
    assert!(lines.len() == 1 && lines[0].contains("promises_of_panic.rs"), "{lines:#?}");
}
