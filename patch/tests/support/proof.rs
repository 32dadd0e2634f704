//! The proof that code which knows nothing of greenlets parks: many of them at once, each of which has to
//! wait, take about as long as one, and do what they do in threads of their own.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fmt::Debug;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{greenlets, slow};

/// How long each of them has to wait.
pub(crate) const WAIT: Duration = Duration::from_millis(200);

/// Runs `work` in `count` greenlets of this thread, and in as many threads without greenlets, where nothing
/// is patched. The results must be equal, and the greenlets must take less than half of what they would take
/// one after the other. `work` waits for [`WAIT`] at least; what `prepare` does before is not timed.
#[track_caller]
pub(crate) fn proves<P, T>(
    what: &str,
    count: usize,
    prepare: impl Fn(usize) -> P + Send + Sync + 'static,
    work: impl Fn(usize, P) -> T + Send + Sync + 'static,
) where
    P: 'static,
    T: PartialEq + Debug + Send + 'static,
{
    let (prepare, work) = (Arc::new(prepare), Arc::new(work));
    let unpatched = in_threads(count, &prepare, &work);
    let prepared = greenlets(count, move |number| prepare(number));
    let prepared = std::cell::RefCell::new(prepared.into_iter().map(Some).collect::<Vec<_>>());
    let before = sward::patch::stats();
    let start = Instant::now();
    let found = greenlets(count, move |number| {
        let own = prepared.borrow_mut()[number].take().unwrap();
        work(number, own)
    });
    let (taken, serial) = (start.elapsed(), WAIT * count as u32);
    println!("{what}: {count} greenlets took {taken:.2?}; one after the other it is {serial:.0?} at least");
    for after in sward::patch::stats().iter() {
        let (calls, parks) =
            (after.calls - before.of(after.function).calls, after.parks - before.of(after.function).parks);
        if calls > 0 {
            println!("    {:16} {calls:6} calls {parks:6} parks", after.function);
        }
    }
    assert_eq!(found, unpatched, "{what}: greenlets (left) get what threads get");
    assert!(taken >= WAIT, "{what}: took {taken:?}, which is no wait");
    assert!(slow() || taken < serial / 2, "{what}: took {taken:?}");
}

/// What happens without patching: in threads that have no greenlets.
fn in_threads<P, T: Send + 'static>(
    count: usize,
    prepare: &Arc<impl Fn(usize) -> P + Send + Sync + 'static>,
    work: &Arc<impl Fn(usize, P) -> T + Send + Sync + 'static>,
) -> Vec<T> {
    let threads: Vec<_> = (0..count)
        .map(|number| {
            let (prepare, work) = (prepare.clone(), work.clone());
            thread::spawn(move || work(number, prepare(number)))
        })
        .collect();
    // Joined in a greenlet: the server may be one in this thread.
    sward::spawn(|| threads.into_iter().map(|thread| thread.join().unwrap()).collect()).join().unwrap()
}
