//! All hubs of a process: each is asked from whichever thread, and who does not answer is said so.

mod support;

use std::cell::Cell;
use std::hint::black_box;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use support::{CountDrop, FOREVER, SHORT, generous, patient, watchdog};
use sward::inspect::{HubInfo, State, dump, hubs, profile, resolve, snapshot, stats};
use sward::{Builder, sleep, spawn, yield_now};

/// A thread with a hub and a greenlet of this name, until it is dropped.
struct Other {
    hub: u64,
    end: Option<sward::sync::channel::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The number of this thread's hub.
fn here() -> u64 {
    hubs(Duration::ZERO).into_iter().find(HubInfo::is_current).unwrap().id
}

impl Other {
    fn with(name: &str) -> Other {
        let (end, ended) = sward::sync::channel::unbounded::<()>();
        let (tell, told) = channel();
        let name = name.to_owned();
        let thread = thread::Builder::new().name("the other hub".to_owned()).spawn(move || {
            let waiting = Builder::new().name(name).spawn(wait_in_here).unwrap();
            yield_now();
            tell.send(here()).unwrap();
            ended.recv().unwrap_err();
            waiting.kill();
        });
        Other { hub: told.recv().unwrap(), end: Some(end), thread: Some(thread.unwrap()) }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The right to make profiles, of which a process makes one at a time: a test that does so has all others wait.
fn profiles() -> MutexGuard<'static, ()> {
    static PROFILES: Mutex<()> = Mutex::new(());
    let turn = PROFILES.lock().unwrap_or_else(PoisonError::into_inner);
    // One that nobody waits for any more ends a moment later.
    while is_busy(Duration::ZERO) {
        sleep(SHORT);
    }
    turn
}

/// Whether no profile of this length can be made because there is another one.
fn is_busy(length: Duration) -> bool {
    profile(length, SHORT).is_err_and(|error| error.kind() == ErrorKind::ResourceBusy)
}

#[inline(never)]
fn wait_in_here() {
    sleep(FOREVER);
    black_box(());
}

/// The hub with this number, when it answers. Not asked for longer at a time, because other tests keep theirs.
fn answer(id: u64) -> HubInfo {
    let asked = std::iter::repeat_with(|| hub(id, patient()).unwrap());
    asked.into_iter().find(|hub| hub.stats.is_some()).unwrap()
}

/// The hub with this number, as far as it answers.
fn hub(id: u64, limit: Duration) -> Option<HubInfo> {
    hubs(limit).into_iter().find(|hub| hub.id == id)
}

/// What `wait` has kept its thread with until it ends.
fn keeps(tell: &Sender<u64>, wait: &Barrier) {
    tell.send(here()).unwrap();
    wait.wait();
}

#[test]
fn each_hub_tells_its_greenlets_its_counters_and_its_threads_name() {
    let _watchdog = watchdog();
    let other = Other::with("over there");
    let g = Builder::new().name("over here").spawn(|| sleep(FOREVER)).unwrap();
    yield_now();
    let there = answer(other.hub);
    assert!(!there.is_current());
    assert_eq!(there.thread.as_deref(), cfg!(target_os = "linux").then_some("the other hub"));
    let row = there.greenlets.iter().find(|row| row.name.as_deref() == Some("over there")).unwrap();
    assert_eq!((row.state, row.waits_for), (State::Parked, Some("sleep")));
    assert_eq!(there.stats.unwrap().greenlets, 1);
    assert_eq!(there.greenlets[0].name.as_deref(), Some("root"));
    let ours = answer(here());
    assert!(ours.is_current());
    let ids = |rows: &[sward::inspect::GreenletInfo]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(&ours.greenlets), ids(&snapshot()));
    // Our own rows are of a moment in which we waited for them.
    assert_eq!((ours.greenlets[0].state, ours.greenlets[0].waits_for), (State::Parked, Some("inspect::hubs")));
    assert_eq!(ours.stats.unwrap().spawned, stats().spawned);
    g.kill();
}

#[test]
fn the_calls_of_another_hubs_greenlets_are_told_and_these_go_on() {
    let _watchdog = watchdog();
    let other = Other::with("with calls");
    let mut there = answer(other.hub);
    let mut tree = Vec::new();
    there.dump(&mut tree, generous()).unwrap();
    let tree = String::from_utf8(tree).unwrap();
    assert!(tree.contains("\"with calls\"") && tree.contains("wait_in_here"), "{tree}");
    let traces: Vec<_> = there.traces(generous()).collect();
    assert_eq!(traces.len(), 1, "the root has no calls of its own: {traces:?}");
    let calls = resolve(vec![traces[0].stack.clone(), traces[0].stack.clone()]);
    let functions = calls[0].iter().flat_map(|call| &call.functions);
    assert!(functions.clone().any(|function| function.name.contains("wait_in_here")), "{calls:?}");
    assert!(functions.clone().all(|function| !function.name.contains("sward_runtime::spawn")), "{calls:?}");
    assert_eq!(calls[0], calls[1]);
    // One row is a tree too.
    let mut one = there.clone();
    one.greenlets.retain(|row| row.id == traces[0].greenlet.id);
    let mut tree = Vec::new();
    one.dump(&mut tree, generous()).unwrap();
    let tree = String::from_utf8(tree).unwrap();
    assert!(tree.starts_with("1 \"with calls\"") && tree.contains("wait_in_here"), "{tree}");
    // Who was removed is not asked for.
    there.greenlets.clear();
    assert_eq!(there.traces(generous()).count(), 0);
}

#[test]
fn questions_are_answered_one_at_a_time_and_others_have_their_turn_in_between() {
    let _watchdog = watchdog();
    let g = Builder::new().name("looked at").spawn(wait_in_here).unwrap();
    yield_now();
    let (ours, turns) = (Rc::new(answer(here())), Rc::new(Cell::new(0)));
    let count = turns.clone();
    let other = spawn(move || {
        loop {
            count.set(count.get() + 1);
            yield_now();
        }
    });
    let askers = (0..5).map(|_| {
        let (ours, turns) = (ours.clone(), turns.clone());
        spawn(move || (ours.traces(FOREVER).count(), turns.get()))
    });
    let answers: Vec<_> = sward::join_all(askers.collect::<Vec<_>>()).into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|(traces, _)| *traces == 1), "{answers:?}");
    assert!(answers.windows(2).all(|two| two[0].1 < two[1].1), "{answers:?}");
    other.kill();
    g.kill();
}

#[test]
fn a_hub_that_has_ended_is_not_there_and_says_nothing() {
    let _watchdog = watchdog();
    let other = Other::with("soon gone");
    let there = answer(other.hub);
    drop(other);
    assert!(hub(there.id, SHORT).is_none());
    // Nor does it keep us waiting.
    assert_eq!(there.traces(FOREVER).count(), 0);
    let text = format!("{there:?}");
    assert!(text.contains("soon gone"), "{text}");
}

#[test]
fn a_hub_that_is_kept_does_not_answer_and_all_others_do() {
    let _watchdog = watchdog();
    let (polite, meet) = (Other::with("polite"), Arc::new(Barrier::new(2)));
    let (tell, told) = channel();
    let theirs = meet.clone();
    let rude = thread::spawn(move || {
        let g = Builder::new().name("rude").spawn(move || keeps(&tell, &theirs)).unwrap();
        g.join().unwrap();
        assert_eq!(snapshot().len(), 1);
    });
    let rude_hub = told.recv().unwrap();
    let all = hubs(patient());
    let kept = all.iter().find(|hub| hub.id == rude_hub).unwrap();
    assert!(kept.stats.is_none() && kept.greenlets.is_empty());
    assert!(all.iter().find(|hub| hub.id == polite.hub).unwrap().stats.is_some());
    if cfg!(target_os = "linux") {
        let sample = hub(rude_hub, SHORT).unwrap().sample().unwrap();
        assert_eq!((sample.hub, sample.name.as_deref()), (rude_hub, Some("rude")));
        let calls = resolve(vec![sample.stack]);
        let mut functions = calls[0].iter().flat_map(|call| &call.functions);
        assert!(functions.any(|function| function.name.contains("keeps")), "{calls:?}");
    }
    meet.wait();
    rude.join().unwrap();
}

#[test]
fn a_hub_answers_again_once_it_is_let_go() {
    let _watchdog = watchdog();
    let (tell, told) = channel();
    let meet = Arc::new(Barrier::new(2));
    let (theirs, (end, ended)) = (meet.clone(), sward::sync::channel::unbounded::<()>());
    let rude = thread::spawn(move || {
        keeps(&tell, &theirs);
        ended.recv().unwrap_err();
    });
    let rude_hub = told.recv().unwrap();
    for _ in 0..100 {
        assert!(hub(rude_hub, Duration::ZERO).unwrap().stats.is_none());
    }
    meet.wait();
    // It may take it a moment to get there; the questions of before are gone then.
    while hub(rude_hub, SHORT).unwrap().stats.is_none() {}
    answer(rude_hub);
    drop(end);
    rude.join().unwrap();
}

#[test]
fn a_hub_that_ends_in_the_middle_is_left_out_or_silent() {
    let _watchdog = watchdog();
    let over = Arc::new(AtomicBool::new(false));
    let theirs = over.clone();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let over = theirs.clone();
            thread::spawn(move || {
                let mut ended = 0;
                while !over.load(SeqCst) {
                    thread::spawn(|| spawn(|| sleep(Duration::from_micros(50))).join().unwrap()).join().unwrap();
                    ended += 1;
                }
                ended
            })
        })
        .collect();
    let askers: Vec<_> = (0..4)
        .map(|_| {
            spawn(|| {
                for _ in 0..100 {
                    for hub in hubs(SHORT) {
                        hub.traces(SHORT).for_each(drop);
                    }
                }
            })
        })
        .collect();
    sward::join_all(askers).into_iter().for_each(|end| end.unwrap());
    over.store(true, SeqCst);
    assert!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>() > 2);
    answer(here());
}

#[test]
fn who_asks_can_be_killed_and_nothing_of_it_stays() {
    let _watchdog = watchdog();
    let (tell, told) = channel();
    let meet = Arc::new(Barrier::new(2));
    let theirs = meet.clone();
    let rude = thread::spawn(move || keeps(&tell, &theirs));
    told.recv().unwrap();
    let dropped = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = dropped.clone();
    let asker = spawn(move || {
        let _on_the_way = CountDrop(counter);
        hubs(FOREVER).len()
    });
    yield_now();
    asker.kill();
    assert!(asker.join().unwrap_err().is_killed());
    assert_eq!(dropped.load(SeqCst), 1);
    // What it has asked counts for nothing: a root that waits in vain is told so.
    let caught = std::panic::catch_unwind(|| sward::sync::Event::new().wait()).unwrap_err();
    assert!(caught.downcast_ref::<String>().unwrap().contains("deadlock"));
    meet.wait();
    rude.join().unwrap();
}

#[test]
fn to_be_known_is_no_hope_a_deadlock_is_one_all_the_same() {
    let _watchdog = watchdog();
    let _known = hubs(SHORT);
    let caught = std::panic::catch_unwind(|| sward::sync::Event::new().wait()).unwrap_err();
    assert!(caught.downcast_ref::<String>().unwrap().contains("deadlock"));
}

#[test]
fn in_an_unwinding_nobody_is_asked() {
    /// Asks when it is dropped.
    struct Asks(Sender<Vec<bool>>);
    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.send(hubs(FOREVER).iter().map(|hub| hub.stats.is_some()).collect()).unwrap();
        }
    }
    let _watchdog = watchdog();
    let (tell, told) = channel();
    let g = spawn(move || {
        let _asks = Asks(tell);
        std::panic::resume_unwind(Box::new("unwinds"));
    });
    g.wait();
    let answers = told.recv().unwrap();
    assert!(!answers.is_empty() && answers.iter().all(|answered| !answered), "{answers:?}");
    drop(g.join());
}

/// Keeps a processor at work, and yields now and then.
#[inline(never)]
fn compute(over: &AtomicBool) {
    while !over.load(SeqCst) {
        for n in 0..10_000 {
            black_box(n);
        }
        yield_now();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_profile_finds_who_computes_and_not_who_waits() {
    let _watchdog = watchdog();
    let _profiles = profiles();
    let idle = Other::with("idle");
    let over = Arc::new(AtomicBool::new(false));
    let theirs = over.clone();
    let (tell, told) = channel();
    let busy = thread::spawn(move || {
        tell.send(here()).unwrap();
        let g = Builder::new().name("computes").spawn(move || compute(&theirs)).unwrap();
        g.join().unwrap();
    });
    let busy_hub = told.recv().unwrap();
    // A loaded machine may let it have its turn late.
    let length = patient() * 3;
    let found = std::iter::repeat_with(|| profile(length, SHORT).unwrap());
    let found = found.map(|samples| {
        let computing = samples.iter().filter(|sample| sample.hub == busy_hub && sample.name.is_some());
        (computing.map(|sample| sample.count).sum::<u64>(), samples)
    });
    let (count, samples) = found.into_iter().find(|(count, _)| *count >= 5).unwrap();
    assert!(u128::from(count) <= 2 * (length.as_millis() / SHORT.as_millis()), "{count} in so short a time");
    assert!(samples.iter().all(|sample| sample.hub != idle.hub || sample.greenlet.is_none()), "{samples:#?}");
    let ours: Vec<_> = samples.into_iter().filter(|sample| sample.name.as_deref() == Some("computes")).collect();
    assert!(ours.iter().all(|sample| sample.spawned_at.unwrap().file().ends_with("promises_of_hubs.rs")), "{ours:?}");
    let calls = resolve(ours.into_iter().map(|sample| sample.stack).collect());
    let mut functions = calls.iter().flatten().flat_map(|call| &call.functions);
    assert!(functions.any(|function| function.name.ends_with("compute")), "{calls:#?}");
    over.store(true, SeqCst);
    busy.join().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn one_profile_at_a_time_and_none_for_who_was_killed() {
    let _watchdog = watchdog();
    let _profiles = profiles();
    let first = spawn(|| profile(FOREVER, SHORT).map(drop));
    yield_now();
    assert!(is_busy(SHORT));
    first.kill();
    assert!(first.join().unwrap_err().is_killed());
    while is_busy(SHORT) {
        sleep(SHORT);
    }
}

#[test]
fn who_looks_may_be_killed_at_any_moment() {
    let _watchdog = watchdog();
    let _profiles = profiles();
    let many: Vec<_> = (0..300).map(|_| spawn(wait_in_here)).collect();
    yield_now();
    let looks: [fn(); 4] = [
        || hubs(SHORT).iter().for_each(|hub| hub.dump(std::io::sink(), SHORT).unwrap()),
        || dump(std::io::sink()).unwrap(),
        || drop(profile(SHORT, SHORT)),
        || hubs(SHORT).iter().for_each(|hub| drop(resolve(hub.traces(SHORT).map(|trace| trace.stack).collect()))),
    ];
    for n in 0..100 {
        let greenlets = looks.map(spawn);
        sleep(Duration::from_micros(n * 37));
        greenlets.iter().for_each(|g| g.kill());
        assert!(greenlets.into_iter().all(|g| g.join().err().is_none_or(|error| error.is_killed())));
    }
    let mut tree = Vec::new();
    dump(&mut tree).unwrap();
    assert_eq!(String::from_utf8(tree).unwrap().matches("wait_in_here").count(), 300);
    many.iter().for_each(|g| g.kill());
}

#[test]
fn asked_without_a_pause_greenlets_do_their_work() {
    let _watchdog = watchdog();
    let over = Arc::new(AtomicBool::new(false));
    let theirs = over.clone();
    let worker = thread::spawn(move || {
        let mut rounds = 0;
        while !theirs.load(SeqCst) || rounds == 0 {
            let all = (0..100).map(|n| {
                spawn(move || {
                    sleep(Duration::from_micros(n * 10));
                    yield_now();
                    n
                })
            });
            assert_eq!(sward::join_all(all).into_iter().map(Result::unwrap).sum::<u64>(), 99 * 50);
            rounds += 1;
        }
    });
    for _ in 0..50 {
        for hub in hubs(SHORT) {
            hub.dump(std::io::sink(), SHORT).unwrap();
        }
    }
    over.store(true, SeqCst);
    worker.join().unwrap();
    dump(std::io::sink()).unwrap();
}
