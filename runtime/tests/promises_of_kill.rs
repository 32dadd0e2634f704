//! Kill, wherever a greenlet is and whoever kills it: destructors run exactly once, links fire once, nothing behind the
//! blocking call runs, and no stale waiter stays.

mod support;

use std::future::{Future, poll_fn};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::Poll;

use support::{CountDrop, FOREVER, Flag, SHORT, watchdog};
use sward::lowlevel::{Source, WaitQueue};

thread_local! {
    /// The lock that victims wait for.
    static LOCK: Rc<WaitQueue<Rc<()>>> = Rc::new(WaitQueue::new());
    /// What they leave in its queue, as long as their places are there.
    static TRACE: Rc<()> = Rc::new(());
}

/// Where the victim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    NotStarted,
    Ready,
    Sleep,
    Io,
    Join,
    Lock,
    Offload,
    BlockOn,
    Park,
    WaitAny,
    Scope,
    Shield,
    NestedTimeout,
}

const PLACES: [Place; 13] = [
    Place::NotStarted,
    Place::Ready,
    Place::Sleep,
    Place::Io,
    Place::Join,
    Place::Lock,
    Place::Offload,
    Place::BlockOn,
    Place::Park,
    Place::WaitAny,
    Place::Scope,
    Place::Shield,
    Place::NestedTimeout,
];

/// What a victim did.
#[derive(Default)]
struct Probe {
    /// The body began.
    started: AtomicUsize,
    /// The body got behind the blocking call.
    survived: AtomicUsize,
    /// Destructors of captures and of locals.
    dropped: Arc<AtomicUsize>,
    /// Links.
    linked: AtomicUsize,
}

/// The victim's body; with `suicide` it kills itself before it blocks.
fn victim(place: Place, probe: &Arc<Probe>, suicide: bool) -> impl FnOnce() + Send + 'static {
    let (probe, captured) = (probe.clone(), CountDrop(probe.dropped.clone()));
    move || {
        let _captured = captured;
        let _local = CountDrop(probe.dropped.clone());
        probe.started.fetch_add(1, SeqCst);
        if suicide {
            sward::current().kill();
        }
        block(place);
        probe.survived.fetch_add(1, SeqCst);
    }
}

/// Blocks for ever in the way of `place`.
fn block(place: Place) {
    match place {
        Place::NotStarted => sward::sleep(FOREVER),
        Place::Ready => loop {
            sward::yield_now();
        },
        Place::Sleep => sward::sleep(FOREVER),
        Place::Io => {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let source = Source::new(ours);
            let _ = source.read_with("test", None, |mut stream| stream.read(&mut [0; 8]));
        }
        Place::Join => {
            let _ = sward::spawn(|| sward::sleep(FOREVER)).join();
        }
        Place::Lock => {
            LOCK.with(Rc::clone).wait("Lock::lock", TRACE.with(Rc::clone), None);
        }
        Place::Offload => {
            let (keep, wait) = mpsc::channel::<()>();
            let _ = sward::offload(move || wait.recv());
            drop(keep);
        }
        Place::BlockOn => sward::block_on(poll_fn(|_| Poll::Pending)),
        Place::Park => loop {
            sward::lowlevel::park(None);
        },
        Place::WaitAny => {
            let slow = sward::spawn(|| sward::sleep(FOREVER));
            sward::wait_any(&[&slow, &slow]);
        }
        Place::Scope => {
            let borrowed = Flag::new();
            sward::scope(|scope| {
                scope.spawn(|| {
                    sward::sleep(FOREVER);
                    borrowed.raise();
                });
            });
        }
        Place::Shield => {
            sward::shield(|| sward::sleep(SHORT));
            sward::sleep(FOREVER);
        }
        Place::NestedTimeout => {
            let _ = sward::timeout(FOREVER, || sward::timeout(FOREVER, || sward::sleep(FOREVER)));
        }
    }
}

/// Lets the victim get to where it blocks.
fn settle(place: Place) {
    if place != Place::NotStarted {
        sward::yield_now();
        sward::yield_now();
    }
}

/// Spawns a victim here, has `kill` kill it, and looks at what is left.
fn local(place: Place, suicide: bool, kill: impl FnOnce(&sward::Greenlet<()>)) {
    let probe = Arc::new(Probe::default());
    let greenlet = sward::spawn(victim(place, &probe, suicide));
    for _ in 0..2 {
        let theirs = probe.clone();
        greenlet.link(move |result| {
            assert!(result.as_ref().unwrap_err().is_killed());
            theirs.linked.fetch_add(1, SeqCst);
        });
    }
    settle(place);
    kill(&greenlet);
    let error = greenlet.join().unwrap_err();
    assert!(error.is_killed(), "{place:?}: {error}");
    assert_eq!(probe.linked.load(SeqCst), 2, "{place:?}: each link fires once");
    look(place, &probe, suicide);
}

/// What must hold after every death.
fn look(place: Place, probe: &Probe, suicide: bool) {
    let started = usize::from(suicide || place != Place::NotStarted);
    assert_eq!(probe.started.load(SeqCst), started, "{place:?}: started");
    assert_eq!(probe.survived.load(SeqCst), 0, "{place:?}: ran behind the blocking call");
    assert_eq!(probe.dropped.load(SeqCst), 1 + started, "{place:?}: destructors");
    assert!(LOCK.with(|lock| lock.is_empty()), "{place:?}: a waiter that still counts");
    assert_eq!(TRACE.with(Rc::strong_count), 1, "{place:?}: a stale waiter");
    assert_eq!(sward::spawn(|| 1).join().unwrap(), 1, "{place:?}: the hub is in order");
    assert_eq!(Arc::strong_count(&probe.dropped), 1, "{place:?}: something is left");
}

#[test]
fn killed_once() {
    let _watchdog = watchdog();
    PLACES.into_iter().for_each(|place| local(place, false, |greenlet| greenlet.kill()));
}

#[test]
fn killed_twice_and_while_it_dies() {
    let _watchdog = watchdog();
    for place in PLACES {
        local(place, false, |greenlet| {
            greenlet.kill();
            greenlet.kill();
            sward::yield_now();
            greenlet.kill();
        });
    }
}

#[test]
fn killed_by_itself() {
    let _watchdog = watchdog();
    PLACES.into_iter().for_each(|place| local(place, true, |_| {}));
}

#[test]
fn killed_by_a_sibling() {
    let _watchdog = watchdog();
    for place in PLACES {
        local(place, false, |greenlet| {
            if place == Place::NotStarted {
                // A sibling would run after it.
                greenlet.kill();
            }
            sward::scope(|scope| scope.spawn(|| greenlet.kill()).join().unwrap());
        });
    }
}

#[test]
fn killed_before_a_hub_saw_it_by_another_thread() {
    let _watchdog = watchdog();
    let probe = Arc::new(Probe::default());
    let (handle, body) = (sward::handle(), victim(Place::NotStarted, &probe, false));
    let thread = std::thread::spawn(move || {
        let greenlet = handle.spawn(body);
        greenlet.kill();
        greenlet.kill();
        greenlet
    });
    assert!(thread.join().unwrap().join().unwrap_err().is_killed());
    look(Place::NotStarted, &probe, false);
}

#[test]
fn killed_from_another_hub() {
    let _watchdog = watchdog();
    for place in PLACES.into_iter().filter(|place| *place != Place::NotStarted) {
        let probe = Arc::new(Probe::default());
        let (handle, body, theirs) = (sward::handle(), victim(place, &probe, false), probe.clone());
        let thread = std::thread::spawn(move || {
            let greenlet = handle.spawn(body);
            while theirs.started.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
            // The hub looks at its inbox between switches: when it finds this, the victim has blocked.
            greenlet.kill();
            greenlet.kill();
            drop(theirs);
            greenlet.join().map_err(|error| error.is_killed())
        });
        assert_eq!(sward::offload(|| thread.join()).unwrap(), Err(true), "{place:?}");
        look(place, &probe, false);
    }
}

#[test]
fn a_swallowed_kill_is_raised_again_at_each_blocking_call() {
    let _watchdog = watchdog();
    let caught = Arc::new(AtomicUsize::new(0));
    let theirs = caught.clone();
    let greenlet = sward::spawn(move || {
        for _ in 0..3 {
            assert!(std::panic::catch_unwind(|| sward::sleep(FOREVER)).is_err());
            theirs.fetch_add(1, SeqCst);
        }
        "returned all the same"
    });
    sward::yield_now();
    greenlet.kill();
    assert_eq!(greenlet.join().unwrap(), "returned all the same");
    assert_eq!(caught.load(SeqCst), 3);
}

#[test]
fn a_kill_that_finds_no_blocking_call_changes_nothing() {
    let _watchdog = watchdog();
    let greenlet = sward::spawn(|| {
        sward::current().kill();
        5
    });
    assert_eq!(greenlet.join().unwrap(), 5);
    let finished = sward::spawn(|| 6);
    finished.wait();
    finished.kill();
    assert_eq!(finished.join().unwrap(), 6);
    assert!(sward::spawn(sward::yield_now).join().is_ok(), "nothing stays in the slot");
}

#[test]
fn a_current_of_a_finished_greenlet_kills_nobody() {
    let _watchdog = watchdog();
    let stale = sward::spawn(sward::current).join().unwrap();
    let next = sward::spawn(|| sward::sleep(SHORT));
    sward::yield_now();
    stale.kill();
    next.join().unwrap();
}

#[test]
fn a_hand_over_beats_a_later_kill() {
    let _watchdog = watchdog();
    let got = Flag::new();
    let (queue, theirs) = (Rc::new(WaitQueue::<u8>::new()), got.clone());
    let waiting = queue.clone();
    let greenlet = sward::spawn(move || {
        assert_eq!(waiting.wait("test", 0, None), sward::lowlevel::Waited::Woken(9));
        theirs.raise();
        sward::sleep(FOREVER);
    });
    sward::yield_now();
    assert!(queue.wake_one_with(|given| *given = 9).is_some());
    greenlet.kill();
    assert!(greenlet.join().unwrap_err().is_killed(), "raised at the next blocking call");
    assert!(got.is_raised());
}

#[test]
fn a_killed_waiter_is_skipped_by_hand_overs() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::<u8>::new());
    let spawn = |queue: &Rc<WaitQueue<u8>>| {
        let queue = queue.clone();
        sward::spawn(move || queue.wait("test", 0, None))
    };
    let (first, second) = (spawn(&queue), spawn(&queue));
    sward::yield_now();
    first.kill();
    assert!(queue.wake_one_with(|given| *given = 3).is_some());
    assert!(queue.wake_one_with(|given| *given = 4).is_none(), "the killed one takes nothing");
    assert!(first.join().unwrap_err().is_killed());
    assert_eq!(second.join().unwrap(), sward::lowlevel::Waited::Woken(3));
}

#[test]
fn a_future_is_dropped_where_it_was_polled() {
    let _watchdog = watchdog();
    struct Never {
        _counter: CountDrop,
    }
    impl Future for Never {
        type Output = ();
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let future = Never { _counter: CountDrop(drops.clone()) };
    let greenlet = sward::spawn(move || sward::block_on(future));
    sward::yield_now();
    greenlet.kill();
    assert_eq!(drops.load(SeqCst), 0);
    assert!(greenlet.join().unwrap_err().is_killed());
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn kill_prints_nothing() {
    let output = support::in_child("kill_prints_nothing", || {
        let greenlet = sward::spawn(|| sward::sleep(FOREVER));
        sward::yield_now();
        greenlet.kill();
        drop(greenlet);
        sward::yield_now();
        assert!(sward::timeout(SHORT, || sward::sleep(FOREVER)).is_err());
    });
    assert!(output.status.success());
    assert_eq!(support::stderr_lines(&output), Vec::<String>::new());
}
