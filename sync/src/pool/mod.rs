//! A group of limited size, and mapping a function over many inputs with it.

mod feed;
mod imap;

use std::cell::RefCell;
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use sward_runtime::{Greenlet, JoinError, greenlet_local};

use self::feed::Feed;
pub use self::imap::{Imap, ImapUnordered};
use crate::group::Members;
use crate::semaphore::{OwnedPermit, Semaphore};

greenlet_local! {
    /// The slots of the pool that the greenlet is a member of.
    static MEMBER_OF: RefCell<Option<Rc<Semaphore>>> = RefCell::new(None);
}

/// A group of at most `size` greenlets at a time: gevent's `Pool`.
///
/// # A member that uses its own pool
///
/// When a member calls `map` or an `imap` of its own pool and no slot is free, its inputs run one
/// after the other *in the slot of the member itself*, which waits meanwhile. So `map` needs no slot
/// but its caller's: it cannot deadlock, however deep it nests, and no more than `size` greenlets
/// run. (`spawn` waits for a slot like everybody else.)
///
/// # Differences from gevent's `Pool`
///
/// `map` and its like take one iterator; `imap` gives a `Result` for each input, so that an error does
/// not end it. The source is asked in the greenlet that iterates, so it may borrow; while the source
/// blocks, so does `next`.
///
/// ```
/// use sward::sync::Pool;
///
/// let pool = Pool::new(4);
/// let lengths = pool.map(["a", "bc", "def"], str::len);
/// assert_eq!(lengths, [1, 2, 3]);
/// ```
pub struct Pool {
    /// Shared with the iterators.
    shared: Rc<Shared>,
}

/// What a pool consists of.
struct Shared {
    /// Its members.
    members: Rc<Members>,
    /// A permit for each member that runs.
    slots: Rc<Semaphore>,
    /// How many may run.
    size: usize,
}

impl Pool {
    /// A pool for `size` greenlets. With size 0 none can ever run.
    ///
    /// ```
    /// assert_eq!(sward::sync::Pool::new(3).free_count(), 3);
    /// ```
    pub fn new(size: usize) -> Pool {
        Pool { shared: Rc::new(Shared { members: Rc::default(), slots: Rc::new(Semaphore::new(size)), size }) }
    }

    /// Spawns a member; waits while `size` run. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if none of them can ever end ("deadlock"); if no stack can be had.
    ///
    /// ```
    /// let pool = sward::sync::Pool::new(2);
    /// assert_eq!(pool.spawn(|| 7).join().unwrap(), 7);
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let slot = self.shared.slots.acquire_owned_for("Pool::spawn");
        self.shared.spawn(Location::caller(), Some(slot), f)
    }

    /// How many more could run now.
    ///
    /// ```
    /// let pool = sward::sync::Pool::new(2);
    /// pool.spawn(|| ());
    /// assert_eq!(pool.free_count(), 1);
    /// ```
    pub fn free_count(&self) -> usize {
        self.shared.slots.available_permits()
    }

    /// Waits until one more could run. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if none of them can ever end ("deadlock").
    ///
    /// ```
    /// let pool = sward::sync::Pool::new(1);
    /// pool.spawn(|| ());
    /// pool.wait_available();
    /// assert_eq!(pool.free_count(), 1);
    /// ```
    pub fn wait_available(&self) {
        self.shared.slots.wait_available("Pool::wait_available");
    }

    /// How many members have not ended.
    ///
    /// ```
    /// assert_eq!(sward::sync::Pool::new(1).len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.shared.members.len()
    }

    /// Whether all members have ended.
    ///
    /// ```
    /// assert!(sward::sync::Pool::new(1).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until there are no members. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if they can never end ("deadlock").
    ///
    /// ```
    /// let pool = sward::sync::Pool::new(1);
    /// pool.spawn(|| ());
    /// pool.join();
    /// assert!(pool.is_empty());
    /// ```
    pub fn join(&self) {
        self.shared.members.join("Pool::join");
    }

    /// As [`join`](Pool::join), for at most `limit`; tells whether there are no members. Blocks the
    /// greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let pool = sward::sync::Pool::new(1);
    /// pool.spawn(|| sward::sleep(Duration::from_secs(9)));
    /// assert!(!pool.join_timeout(Duration::from_millis(1)));
    /// ```
    pub fn join_timeout(&self, limit: Duration) -> bool {
        self.shared.members.join_timeout("Pool::join_timeout", limit)
    }

    /// Kills each member once, also those that are added meanwhile, and waits until there are none.
    /// Blocks the greenlet; in a destructor that runs in an unwinding it kills and does not wait.
    ///
    /// # Panics
    ///
    /// On the root stack, if they can never end ("deadlock").
    ///
    /// ```
    /// use std::time::Duration;
    /// let pool = sward::sync::Pool::new(1);
    /// pool.spawn(|| sward::sleep(Duration::from_secs(9)));
    /// pool.kill();
    /// assert!(pool.is_empty());
    /// ```
    pub fn kill(&self) {
        self.shared.members.kill("Pool::kill");
    }

    /// Calls `f` with each input, each in a member of its own, and gives the results in the order of the
    /// inputs. Blocks the greenlet. Interrupted, or if the source panics, it kills what is left.
    ///
    /// # Panics
    ///
    /// If an input's call panicked, with its payload, once all have ended; if a member was killed.
    ///
    /// ```
    /// let squares = sward::sync::Pool::new(2).map(1..=3, |n| n * n);
    /// assert_eq!(squares, [1, 4, 9]);
    /// ```
    #[track_caller]
    pub fn map<I, F, R>(&self, inputs: I, f: F) -> Vec<R>
    where
        I: IntoIterator,
        I::Item: 'static,
        F: Fn(I::Item) -> R + 'static,
        R: 'static,
    {
        let mut outputs = self.imap_unordered(inputs, f);
        let mut results = Vec::new();
        while let Some((number, result)) = outputs.next_numbered() {
            if results.len() <= number {
                results.resize_with(number + 1, || None);
            }
            results[number] = Some(result);
        }
        let mut values = Vec::with_capacity(results.len());
        for result in results.into_iter().flatten() {
            match result.map_err(JoinError::try_into_panic) {
                Ok(value) => values.push(value),
                Err(Ok(payload)) => std::panic::resume_unwind(payload),
                Err(Err(_)) => panic!("Pool::map has no result for an input whose greenlet was killed"),
            }
        }
        values
    }

    /// Calls `f` with each input, each in a member of its own; the iterator gives the results in the
    /// order of the inputs, each as soon as it is its turn.
    ///
    /// Lazy: nothing happens before the first `next`, and at most `size` inputs are taken ahead of
    /// the results. A panic of `f` is the `Err` in its place. Dropping the iterator kills what is left.
    ///
    /// # Panics
    ///
    /// Never; `next`, which blocks the greenlet, passes on a panic of the source, and can be called again.
    ///
    /// ```
    /// let pool = sward::sync::Pool::new(2);
    /// let mut halves = pool.imap([4, 0, 2], |n| 8 / n);
    /// assert_eq!(halves.next().unwrap().unwrap(), 2);
    /// assert!(halves.next().unwrap().unwrap_err().is_panic());
    /// assert_eq!(halves.next().unwrap().unwrap(), 4);
    /// assert!(halves.next().is_none());
    /// ```
    #[track_caller]
    pub fn imap<I, F, R>(&self, inputs: I, f: F) -> Imap<I::IntoIter, F, R>
    where
        I: IntoIterator,
        I::Item: 'static,
        F: Fn(I::Item) -> R + 'static,
        R: 'static,
    {
        Imap::new(Feed::new(self.shared.clone(), inputs.into_iter(), f))
    }

    /// As [`imap`](Pool::imap), with each result as soon as it is there, in whatever order.
    ///
    /// # Panics
    ///
    /// As `imap`.
    ///
    /// ```
    /// let pool = sward::sync::Pool::new(2);
    /// let mut squares: Vec<_> = pool.imap_unordered([1, 2, 3], |n| n * n).map(Result::unwrap).collect();
    /// squares.sort();
    /// assert_eq!(squares, [1, 4, 9]);
    /// ```
    #[track_caller]
    pub fn imap_unordered<I, F, R>(&self, inputs: I, f: F) -> ImapUnordered<I::IntoIter, F, R>
    where
        I: IntoIterator,
        I::Item: 'static,
        F: Fn(I::Item) -> R + 'static,
        R: 'static,
    {
        ImapUnordered::new(Feed::new(self.shared.clone(), inputs.into_iter(), f))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.shared.size)
            .field("len", &self.len())
            .field("waiters", &(self.shared.slots.waiters() + self.shared.members.waiters()))
            .finish()
    }
}

impl UnwindSafe for Pool {}
impl RefUnwindSafe for Pool {}

impl Shared {
    /// Spawns a member into a slot: its own, or (`None`) that of the caller, who waits meanwhile.
    #[track_caller]
    fn spawn<F, T>(self: &Rc<Self>, site: &'static Location<'static>, slot: Option<OwnedPermit>, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let work = Work { f, _slot: slot, slots: self.slots.clone() };
        self.members.spawn(site, move || work.run())
    }

    /// Whether the running greenlet is a member.
    fn has_current(&self) -> bool {
        MEMBER_OF.with(|pool| pool.borrow().as_ref().is_some_and(|slots| Rc::ptr_eq(slots, &self.slots)))
    }
}

/// What a member runs. Its fields are dropped in this order, also if it never runs.
struct Work<F> {
    /// The user's function.
    f: F,
    /// Its slot.
    _slot: Option<OwnedPermit>,
    /// All slots of its pool.
    slots: Rc<Semaphore>,
}

impl<F, T> Work<F>
where
    F: FnOnce() -> T,
{
    /// Runs it.
    fn run(self) -> T {
        let Work { f, _slot, slots } = self;
        MEMBER_OF.with(|pool| pool.replace(Some(slots)));
        f()
    }
}
