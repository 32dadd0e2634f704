//! Which greenlets wait for which address: of all hubs, for all threads.
//!
//! ```text
//!   WAITING (all)   buckets, by a hash of the address
//!      3            [lock │ waiting 0 │ ─ ]
//!                   [lock │ waiting 3 │ ●─]──▶ Waiter ──▶ Waiter ──▶ Waiter     oldest first
//!                   …                          on the stacks of the greenlets that wait
//! ```
//!
//! Nothing here allocates, and nothing calls a hook: an allocator may be the one who unlocks.
//!
//! # Why no wake-up is lost
//!
//! Two sides, and a *value* that the table knows nothing of (is the mutex free, what is in the futex):
//!
//! ```text
//!   waiter                                     waker
//!    1 waiting + 1                              a change the value
//!    2 lock the bucket, link, unlock            b barrier
//!    3 barrier                                  c waiting 0? done
//!    4 look at the value: if it has changed,    d lock the bucket, unlink, unlock
//!      unlink, do not park                      e make the greenlet ready
//!    5 park
//! ```
//!
//! *If c reads the count as it was before 1*, then, because of the barriers 3 and b, 4 reads the value as
//! it was after a: of two threads that each write, pass a barrier and read what the other wrote, at
//! least one sees the other's write. The waiter does not park.
//!
//! *If c sees the waiter counted, and d finds it linked*, it is woken. A greenlet that is made ready
//! before it has parked would miss that, but none is: its own thread is busy with 2 to 5, and others
//! reach it through its hub's pile, which is looked at after 5.
//!
//! *If c sees it counted, and d does not find it*, either somebody else has unlinked it, who wakes it; or
//! the waiter comes to its 2 after d. Then the lock of the bucket orders a before 4, and it does not park.
//!
//! The barrier b is where the value is changed: a locked instruction in libc's unlock on x86-64, the
//! kernel's own barrier in `FUTEX_WAKE`, and a fence elsewhere: see [`anybody_after_release`]. For
//! conditions there is no value: the waiter holds the mutex in 1 and 2, and who signals has had the
//! mutex after it.
//!
//! `ci/loom` runs these steps (`models.rs`) through every interleaving.
//!
//! # Who was woken stays woken
//!
//! A waiter that was unlinked by a waker counts as woken, whatever else ended its wait in the same moment
//! (a time limit, an interrupt): it finds itself unlinked when it leaves. So `FUTEX_WAKE` reports
//! exactly how many it woke, and a wake is never given to somebody who then acts as if it had
//! not come. A waiter whose hub has ended (its stack is left as it was, for ever) is unlinked and not
//! counted: the next one gets the wake. So does it if the hub ends before the waiter has heard of its own.
//!
//! # Where a woken waiter may be referred to
//!
//! By nothing in the bucket; but perhaps by its hub's pile, on which another thread put it under the
//! bucket's lock. To leave, a waiter takes that lock, and if it was put on the pile, works the
//! pile off, which only its own thread does. After that its stack may go.

//! # Who is overtaken gets its turn
//!
//! A wake hands nothing over: whoever comes first takes the lock. A greenlet that takes it again right after its
//! unlock, and parks only while it holds it, would always be first, and the greenlet that it wakes would find the lock
//! taken, for ever: greenlets are not preempted. So each [`OVERTAKEN`]th time in a row that a greenlet is woken from one
//! lock, the greenlet of its thread that unlocks it lets it run at once. Only locks: who sends or notifies does not
//! expect that others run before the call returns; who locks does. And not semaphores, since a post may be a signal
//! handler's: there, who waits gives way (`semaphore`).

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use sward_runtime::lowlevel::hooks::{self, Doorbell, Ended, Key};

use super::bucket::{Inside, Lock};
use crate::gate;

/// How many buckets there are.
const BUCKETS: usize = 256;

/// How often a greenlet is woken from waits for one lock until its waker lets it run at once.
const OVERTAKEN: u32 = 16;

thread_local! {
    /// Where this greenlet waited last, and how often in a row it was woken there.
    static LAST: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

/// How many greenlets wait, in all buckets: what everybody who wakes looks at.
static WAITING: Apart<AtomicUsize> = Apart(AtomicUsize::new(0));

/// The table.
static TABLE: [Bucket; BUCKETS] = [const { Bucket::new() }; BUCKETS];

/// A part of the table.
#[repr(align(64))]
struct Bucket {
    /// Protects what follows, and the links of the waiters.
    lock: Lock,
    /// How many are linked, or about to be.
    waiting: AtomicU32,
    /// The oldest.
    first: Cell<*const Waiter>,
    /// The newest.
    last: Cell<*const Waiter>,
}

// SAFETY: the cells are used with the lock held, and by the one thread of a forked child. The waiters
// that they point to are linked there, so they have not left, which takes the lock.
unsafe impl Sync for Bucket {}

/// In a cache line of its own.
#[repr(align(128))]
struct Apart<T>(T);

/// What an address is to who waits for it: addresses are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A futex.
    Futex,
    /// A `pthread_mutex_t`.
    Mutex,
    /// A `pthread_cond_t`.
    Condition,
    /// A `pthread_rwlock_t`.
    RwLock,
    /// A `sem_t`.
    Semaphore,
    /// A `pthread_once_t`.
    Once,
}

/// What is waited for, and by whose wakes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// What is there.
    pub(super) kind: Kind,
    /// Where.
    pub(super) address: usize,
    /// A wake must have one of these bits: `FUTEX_WAIT_BITSET`.
    pub(super) bits: u32,
    /// Whether who is woken has to be the first to take it.
    pub(super) is_lock: bool,
}

impl Place {
    /// For all wakes of the object at an address.
    #[inline(always)]
    pub(super) fn of<T>(kind: Kind, object: *const T) -> Place {
        let is_lock = matches!(kind, Kind::Mutex | Kind::RwLock);
        Place { kind, address: object.addr(), bits: u32::MAX, is_lock }
    }

    /// Its bucket.
    fn bucket(&self) -> &'static Bucket {
        // Objects are aligned and close to each other: Fibonacci hashing spreads the low bits upwards.
        let hash = (self.address >> 2).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &TABLE[hash >> (usize::BITS - BUCKETS.ilog2())]
    }

    /// Whether a wake here is one for who waits there.
    fn meets(&self, other: &Place) -> bool {
        self.address == other.address && self.kind == other.kind && self.bits & other.bits != 0
    }
}

/// A greenlet that waits. On its stack; linked to a bucket, and then perhaps to its hub's pile.
struct Waiter {
    /// What for.
    place: Place,
    /// Names the wait.
    key: Key,
    /// The hub's door.
    door: Doorbell,
    /// The one before it in the bucket.
    previous: Cell<*const Waiter>,
    /// The one after it in the bucket; or, on the pile, the one below it.
    next: Cell<*const Waiter>,
    /// Where it is.
    state: Cell<State>,
    /// How often in a row its greenlet was woken there before.
    times_woken: u32,
    /// Others point to it.
    _pinned: PhantomPinned,
}

/// Where a waiter is. Read and written with its bucket locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Linked to its bucket: not woken.
    Waits,
    /// Woken by its own thread.
    Woken,
    /// Woken, and put on the pile.
    Piled,
}

/// How a wait ended.
pub(super) struct Waited<T> {
    /// What the second look found: the greenlet has not parked.
    pub(super) found: Option<T>,
    /// Whether somebody woke it.
    pub(super) woken: bool,
    /// What else ended it.
    pub(super) ended: Ended,
}

/// Asks to be called by what else is needed for a table: fork, and the piles.
pub(super) fn prepare() {
    hooks::on_pile(work_off);
    // SAFETY: the three do not unwind, and do only what is allowed between fork and exec.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
}

/// Whether any greenlet waits, for a waker that has just changed the value by libc's own release of a
/// lock or a semaphore. One load.
#[inline(always)]
pub(super) fn anybody_after_release() -> bool {
    // That release was an instruction that is a full barrier as well. (In a process with one thread it
    // may be a plain one; then the order is the program's.)
    #[cfg(target_arch = "x86_64")]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(target_arch = "x86_64"))]
    std::sync::atomic::fence(Ordering::SeqCst);
    anybody()
}

/// Whether any greenlet waits.
#[inline(always)]
pub(super) fn anybody() -> bool {
    WAITING.0.load(Ordering::Relaxed) != 0
}

/// Whether a greenlet waits there.
#[cold]
pub(super) fn waits(place: Place) -> bool {
    let bucket = place.bucket();
    if bucket.waiting.load(Ordering::Relaxed) == 0 {
        return false;
    }
    bucket.locked(|| bucket.iter().any(|waiter| waiter.place.meets(&place))).unwrap_or(false)
}

/// What is left to do for a waker after libc's function, if anybody waits: as [`wake`], apart.
#[cold]
#[inline(never)]
pub(super) fn wake_after<T>(kind: Kind, object: *const T, count: usize, waker: Waker) {
    wake(Place::of(kind, object), count, waker);
}

/// How a waker knows whose thread it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waker {
    /// A call that signal handlers must not make: greenlets of its own thread are made ready directly.
    Ordinary,
    /// Perhaps a signal handler, in the middle of whatever its thread does: only the pile is safe.
    Anywhere,
}

/// Wakes greenlets that wait there, the oldest first, at most `count`. How many.
pub(super) fn wake(place: Place, count: usize, waker: Waker) -> usize {
    let bucket = place.bucket();
    if bucket.waiting.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    let errno = gate::errno();
    let may_switch = waker == Waker::Ordinary && super::may_switch();
    // To ring at another hub's door is a `write`, which is not for the hook.
    let barred = gate::bar();
    let (mut woken, mut overtaken) = (0, None);
    bucket.locked(|| {
        for waiter in bucket.iter() {
            if woken == count {
                break;
            }
            if !waiter.place.meets(&place) {
                continue;
            }
            bucket.unlink(waiter);
            if may_switch && waiter.is_overtaken() && overtaken.is_none() && waiter.door.is_here() {
                waiter.state.set(State::Woken);
                overtaken = Some(waiter.key);
                woken += 1;
            } else {
                woken += usize::from(waiter.make_ready(waker));
            }
        }
    });
    gate::lift(barred);
    if let Some(key) = overtaken {
        hooks::wake_and_let_run(key);
    }
    gate::set_errno(errno);
    woken
}

/// Waits there until woken or until `deadline`. `look` is called once a waker would find the waiter; what
/// it finds, if anything, ends the wait before it has begun. It must not park.
pub(super) fn wait<T>(
    inside: &gate::Inside,
    place: Place,
    interruptible: bool,
    deadline: Option<Instant>,
    look: impl FnOnce() -> Option<T>,
) -> Waited<T> {
    let waiter = std::pin::pin!(Waiter::new(place));
    let linked = Linked::new(waiter.as_ref());
    let found = look();
    let ended = match found {
        None => inside.wait_for_lock(interruptible, deadline),
        Some(_) => Ended::Ready,
    };
    let woken = linked.leave();
    if woken {
        LAST.set((place.address, waiter.times_woken.wrapping_add(1)));
    }
    Waited { found, woken, ended }
}

impl Bucket {
    /// Empty.
    const fn new() -> Bucket {
        let (first, last) = (Cell::new(ptr::null()), Cell::new(ptr::null()));
        Bucket { lock: Lock::new(), waiting: AtomicU32::new(0), first, last }
    }

    /// Runs `f` with the bucket locked; `None` if this thread is inside already, which is a signal
    /// handler's fate, or that of a handler of `fork`: then who is inside will wake all.
    fn locked<T>(&self, f: impl FnOnce() -> T) -> Option<T> {
        let inside = Inside::enter()?;
        self.lock.lock();
        let result = f();
        self.lock.unlock();
        if inside.leave() {
            wake_all();
        }
        Some(result)
    }

    /// Its waiters, the oldest first. With the bucket locked; the last one given may be unlinked.
    fn iter(&self) -> impl Iterator<Item = &Waiter> {
        let mut next = self.first.get();
        std::iter::from_fn(move || {
            // SAFETY: linked, so it has not left, which takes the lock that the caller holds.
            let waiter = unsafe { next.as_ref() }?;
            next = waiter.next.get();
            Some(waiter)
        })
    }

    /// Links a new one, with the bucket locked.
    fn link(&self, waiter: &Waiter) {
        let last = self.last.replace(waiter);
        waiter.previous.set(last);
        waiter.next.set(ptr::null());
        // SAFETY: null, or linked.
        match unsafe { last.as_ref() } {
            Some(last) => last.next.set(waiter),
            None => self.first.set(waiter),
        }
    }

    /// Takes one out, with the bucket locked.
    fn unlink(&self, waiter: &Waiter) {
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        // SAFETY: null, or linked.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.first.set(next),
        }
        // SAFETY: null, or linked.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.last.set(previous),
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        WAITING.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Waiter {
    /// One for the greenlet that runs.
    fn new(place: Place) -> Waiter {
        let (address, times) = LAST.get();
        Waiter {
            place,
            times_woken: if address == place.address { times } else { 0 },
            key: hooks::next_wait(),
            door: Doorbell::here(),
            previous: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            state: Cell::new(State::Waits),
            _pinned: PhantomPinned,
        }
    }

    /// Whether it is to run as soon as it is woken.
    fn is_overtaken(&self) -> bool {
        self.place.is_lock && self.times_woken % OVERTAKEN == OVERTAKEN - 1
    }

    /// Makes its greenlet ready; false if its hub has ended. Unlinked, with the bucket locked.
    fn make_ready(&self, waker: Waker) -> bool {
        self.state.set(State::Woken);
        if waker == Waker::Ordinary && self.door.is_here() {
            hooks::wake(self.key);
            return true;
        }
        // The door is the waiter's, who is here until the bucket is unlocked: hence all of this before.
        self.door.put(|pile| {
            self.state.set(State::Piled);
            let this = ptr::from_ref(self).cast_mut().cast();
            let mut below = pile.load(Ordering::Relaxed);
            loop {
                self.next.set(below.cast_const().cast());
                match pile.compare_exchange_weak(below, this, Ordering::Release, Ordering::Relaxed) {
                    Ok(_) => return,
                    Err(other) => below = other,
                }
            }
        })
    }
}

/// A waiter's stay in the table; over when dropped (invariant 3).
struct Linked<'a>(Pin<&'a Waiter>);

impl<'a> Linked<'a> {
    /// Steps 1 to 3 of the proof above.
    fn new(waiter: Pin<&'a Waiter>) -> Linked<'a> {
        let bucket = waiter.place.bucket();
        WAITING.0.fetch_add(1, Ordering::Relaxed);
        bucket.waiting.fetch_add(1, Ordering::Relaxed);
        let linked = bucket.locked(|| bucket.link(waiter.get_ref()));
        debug_assert!(linked.is_some(), "the hooks of waits ask whether the thread is inside");
        std::sync::atomic::fence(Ordering::SeqCst);
        Linked(waiter)
    }

    /// Ends it; true if the waiter was woken.
    fn leave(self) -> bool {
        let woken = self.unlink();
        std::mem::forget(self);
        woken
    }

    /// The body of `leave` and of the destructor.
    fn unlink(&self) -> bool {
        let waiter = self.0.get_ref();
        let bucket = waiter.place.bucket();
        let state = bucket.locked(|| {
            let state = waiter.state.get();
            if state == State::Waits {
                bucket.unlink(waiter);
            }
            state
        });
        if state == Some(State::Piled) {
            make_woken_ready();
        }
        state != Some(State::Waits)
    }
}

impl Drop for Linked<'_> {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// Makes ready at once whom this hub would look at in its next turn. On its thread.
pub(super) fn make_woken_ready() {
    work_off(hooks::take_pile(), true);
}

/// Makes ready whom other threads have put on this hub's pile, in the order in which they did. If the hub has
/// ended, its greenlets will not do what they were woken for: others are woken in their place.
fn work_off(pile: *mut (), alive: bool) {
    let mut reversed: *const Waiter = ptr::null();
    let mut next: *const Waiter = pile.cast_const().cast();
    // SAFETY: only `make_ready` puts something on a pile, and what it puts there does not leave before
    // this thread, which is its own, has worked off the pile.
    while let Some(waiter) = unsafe { next.as_ref() } {
        next = waiter.next.replace(reversed);
        reversed = waiter;
    }
    // SAFETY: as above; none of them runs before this returns.
    while let Some(waiter) = unsafe { reversed.as_ref() } {
        reversed = waiter.next.get();
        if alive {
            hooks::wake(waiter.key);
        } else {
            wake(waiter.place, 1, Waker::Anywhere);
        }
    }
}

/// Wakes every greenlet there is: something was missed, by nobody knows whom.
#[cold]
fn wake_all() {
    for bucket in TABLE.iter().filter(|bucket| bucket.waiting.load(Ordering::Relaxed) != 0) {
        bucket.locked(|| {
            for waiter in bucket.iter() {
                bucket.unlink(waiter);
                waiter.make_ready(Waker::Anywhere);
            }
        });
    }
}

/// Before a fork: this thread is inside until it is over. Other handlers of fork, which lock and unlock what they
/// will, so never wait for a bucket, which in the child may be locked by a thread that is not there. The buckets stay
/// free: what such a handler waits for may be held by a thread that is about to wake somebody.
extern "C" fn before_fork() {
    Inside::begin_fork();
}

/// After a fork, in the parent.
extern "C" fn after_fork() {
    if Inside::end_fork() {
        wake_all();
    }
}

/// After a fork, in the child: of the parent's greenlets that wait, none is there, nor is whoever held a bucket.
pub(super) extern "C" fn in_child() {
    WAITING.0.store(0, Ordering::Relaxed);
    super::once::forget();
    for bucket in &TABLE {
        bucket.lock.reset();
        bucket.waiting.store(0, Ordering::Relaxed);
        bucket.first.set(ptr::null());
        bucket.last.set(ptr::null());
    }
    Inside::end_fork();
}
