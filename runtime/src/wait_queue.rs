//! The one mechanism of waiting, waking, handing over and leaving that every primitive is made of.
//!
//! ```text
//!   head ─▶ [node: key, value] ─▶ [node: key, value] ─▶ tail        waiting, first come first
//!
//!   wake_one_with(give):  take the head off the list; if its greenlet is still waiting, let `give`
//!                         change its value and make it ready; if not (killed or timed out in the
//!                         meantime), go on with the next
//! ```
//!
//! A node belongs to a [`Place`], a guard on the waiter's stack. However the wait ends (woken, timed
//! out, killed, panic) the guard takes the node out, so nothing stale stays in a queue (invariant
//! 3). Whether a wake-up still counts is decided once, by `Hub::wake` (invariant 4). Woken nodes
//! leave the list at once but stay in the slab until their waiter has fetched the value.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Instant;

use slab::Slab;

use crate::hub::{self, hub};
use crate::park;
use crate::scheduler::WaitKey;
use crate::slot::{Mode, Reason};

/// "No node", as an index.
const NIL: u32 = u32::MAX;
/// The index of the inline node.
const FIRST: u32 = u32::MAX - 1;
/// Nodes whose memory an empty queue keeps.
const KEPT: usize = 64;

/// How a wait in a [`WaitQueue`] ended, with the value that the waiter brought or was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited<T> {
    /// Woken; the value may have been changed by the one who woke it.
    Woken(T),
    /// The deadline passed; the value is as the waiter brought it.
    TimedOut(T),
}

/// A queue of parked greenlets, each with a value of type `T`: the part that every blocking
/// primitive is built on.
///
/// A greenlet waits in it with [`wait`](WaitQueue::wait); another one wakes the first with
/// [`wake_one`](WaitQueue::wake_one) or hands something over with
/// [`wake_one_with`](WaitQueue::wake_one_with). First in, first out; a waiter that was killed or timed
/// out is skipped; one that was woken returns from `wait` with what it was given, also if it is
/// killed before it runs.
///
/// ```
/// use std::rc::Rc;
/// use sward::lowlevel::{Waited, WaitQueue};
///
/// let mailbox = Rc::new(WaitQueue::<Option<&str>>::new());
/// let reader = sward::spawn({
///     let mailbox = mailbox.clone();
///     move || match mailbox.wait("Mailbox::read", None, None) {
///         Waited::Woken(letter) => letter,
///         Waited::TimedOut(_) => None,
///     }
/// });
/// sward::yield_now(); // the reader waits
/// assert!(mailbox.wake_one_with(|letter| *letter = Some("hello")).is_some());
/// assert_eq!(reader.join().unwrap(), Some("hello"));
/// ```
pub struct WaitQueue<T = ()> {
    /// Nodes and list. Borrowed for moments in which no user code runs (invariant 1).
    inner: RefCell<Inner<T>>,
    /// Who waits here waits on this thread.
    not_send: PhantomData<*const ()>,
}

/// A waiter's entry.
struct Node<T> {
    /// Whom to wake, for which wait.
    key: WaitKey,
    /// What the waiter brought, or was given.
    value: T,
    /// Whether it was woken.
    woken: bool,
    /// Whether it is in the list.
    listed: bool,
    /// The node before it in the list.
    prev: u32,
    /// The node after it in the list.
    next: u32,
}

/// Nodes, linked in order of arrival.
struct Inner<T> {
    /// All nodes, waiting or woken.
    nodes: Nodes<T>,
    /// The first that waits.
    head: u32,
    /// The last that waits.
    tail: u32,
}

impl<T> Inner<T> {
    /// Appends a waiter.
    #[inline(always)]
    fn push(&mut self, key: WaitKey, value: T) -> u32 {
        let node = Node { key, value, woken: false, listed: true, prev: self.tail, next: NIL };
        let index = self.nodes.insert(node);
        if self.tail == NIL {
            self.head = index;
        } else if let Some(last) = self.nodes.get_mut(self.tail) {
            last.next = index;
        }
        self.tail = index;
        index
    }

    /// Takes a node out of the list; it stays in the slab.
    #[inline(always)]
    fn unlink(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        if !std::mem::replace(&mut node.listed, false) {
            return;
        }
        let (prev, next) = (node.prev, node.next);
        match self.nodes.get_mut(prev) {
            Some(node) => node.next = next,
            None => self.head = next,
        }
        match self.nodes.get_mut(next) {
            Some(node) => node.prev = prev,
            None => self.tail = prev,
        }
    }

    /// The index of the first waiter that still waits; those before it (killed or timed out, but
    /// not resumed yet) leave the list.
    #[inline]
    fn first(&mut self) -> Option<u32> {
        while let Some(node) = self.nodes.get_mut(self.head) {
            if hub::waits(node.key) {
                return Some(self.head);
            }
            self.unlink(self.head);
        }
        None
    }

    /// Takes the first waiter off the list and makes it ready; its index if it still waited.
    #[inline(always)]
    fn wake_head(&mut self) -> Option<u32> {
        let index = self.head;
        let node = self.nodes.get_mut(index)?;
        // `hub::wake` only queues: nothing else can touch the queue meanwhile.
        node.woken = hub::wake(node.key, Reason::Unparked);
        node.listed = false;
        let woken = node.woken.then_some(index);
        self.head = node.next;
        if self.head == NIL {
            self.tail = NIL;
        } else if let Some(head) = self.nodes.get_mut(self.head) {
            head.prev = NIL;
        }
        woken
    }

    /// Makes the first waiter ready that still waits.
    #[inline(always)]
    fn wake_first(&mut self) -> Option<&mut Node<T>> {
        while self.head != NIL {
            if let Some(index) = self.wake_head() {
                return self.nodes.get_mut(index);
            }
        }
        None
    }
}

/// A slab of nodes whose first place is inline: most queues have one waiter, if any, and that one
/// costs no allocation (a greenlet's joiner, above all).
struct Nodes<T> {
    /// The node with index [`FIRST`].
    first: Option<Node<T>>,
    /// The others.
    more: Option<Box<Slab<Node<T>>>>,
}

impl<T> Nodes<T> {
    /// None.
    const fn new() -> Nodes<T> {
        Nodes { first: None, more: None }
    }

    /// Stores a node and gives its index.
    #[inline(always)]
    fn insert(&mut self, node: Node<T>) -> u32 {
        if self.first.is_none() {
            self.first = Some(node);
            return FIRST;
        }
        self.insert_more(node)
    }

    /// As `insert`, behind the first. Not inlined: a greenlet that is the only one to wait has no room on its stack for it.
    #[inline(never)]
    fn insert_more(&mut self, node: Node<T>) -> u32 {
        let _busy = self.more.as_ref().is_none_or(|more| more.len() == more.capacity()).then(|| hub().busy());
        let index = self.more.get_or_insert_default().insert(node);
        u32::try_from(index).ok().filter(|index| *index < FIRST).expect("fewer than 4 billion waiters")
    }

    /// The node at an index, if there is one.
    #[inline(always)]
    fn get_mut(&mut self, index: u32) -> Option<&mut Node<T>> {
        match index {
            FIRST => self.first.as_mut(),
            index => self.more.as_mut()?.get_mut(index as usize),
        }
    }

    /// Takes a node out.
    #[inline(always)]
    fn remove(&mut self, index: u32) -> Node<T> {
        if index == FIRST {
            return self.first.take().expect("a place has a node");
        }
        self.remove_more(index)
    }

    /// As `remove`, of one that is not the first. The memory of a crowd that has left is given back.
    #[inline(never)]
    fn remove_more(&mut self, index: u32) -> Node<T> {
        let more = self.more.as_mut().expect("a place has a node");
        let node = more.remove(index as usize);
        if more.is_empty() && more.capacity() > KEPT {
            let _busy = hub().busy();
            self.more = None;
        }
        node
    }
}

impl<T> WaitQueue<T> {
    /// An empty queue.
    pub const fn new() -> WaitQueue<T> {
        WaitQueue { inner: RefCell::new(Inner { nodes: Nodes::new(), head: NIL, tail: NIL }), not_send: PhantomData }
    }

    /// Waits until woken, or until `deadline`. Blocks the greenlet.
    ///
    /// `call` names the blocking call in reports: `"Queue::get"`.
    ///
    /// While a destructor runs in an unwinding no greenlet may be switched: then a wait with a
    /// deadline times out at once, and one without aborts the process with a message that names
    /// `call`. Ask [`can_park`](crate::lowlevel::can_park) first where the type allows another answer.
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever wake it (the message says "deadlock").
    #[inline(always)]
    pub fn wait(&self, call: &'static str, value: T, deadline: Option<Instant>) -> Waited<T> {
        self.wait_in(Mode::Keyed, call, value, deadline)
    }

    /// As `wait`, and neither kill nor timeout ends it.
    pub(crate) fn wait_uninterruptible(&self, call: &'static str, value: T) -> Waited<T> {
        self.wait_in(Mode::Uninterruptible, call, value, None)
    }

    /// The body of both.
    #[inline(always)]
    fn wait_in(&self, mode: Mode, call: &'static str, value: T, deadline: Option<Instant>) -> Waited<T> {
        if !park::can_park() {
            return match deadline {
                Some(_) => Waited::TimedOut(value),
                None => park::abort_in_destructor(call),
            };
        }
        let hub = hub();
        let place = Place::new(self, hub.next_wait(), value);
        hub.park(mode, call, deadline.map(|instant| hub.clock.at(instant)));
        place.leave()
    }

    /// Wakes the first waiter; false if there was none.
    #[inline(always)]
    pub fn wake_one(&self) -> bool {
        self.inner.borrow_mut().wake_first().is_some()
    }

    /// Wakes the first waiter and lets `give` change its value, which is what its `wait` returns;
    /// `None`, and `give` is not called, if there is no waiter.
    ///
    /// # Panics
    ///
    /// If `give` uses this queue.
    #[inline]
    pub fn wake_one_with<R>(&self, give: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.inner.borrow_mut().wake_first().map(|node| give(&mut node.value))
    }

    /// Wakes all who wait now and returns how many those were.
    #[inline]
    pub fn wake_all(&self) -> usize {
        let mut inner = self.inner.borrow_mut();
        let mut woken = 0;
        while inner.head != NIL {
            woken += usize::from(inner.wake_head().is_some());
        }
        woken
    }

    /// Lets `f` look at (and change) the value of the first waiter, which goes on waiting; `None`,
    /// and `f` is not called, if there is no waiter. It is the one that `wake_one` would wake.
    ///
    /// # Panics
    ///
    /// If `f` uses this queue.
    pub fn with_first<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut inner = self.inner.borrow_mut();
        let index = inner.first()?;
        inner.nodes.get_mut(index).map(|node| f(&mut node.value))
    }

    /// How many wait; one that was killed or has timed out does not. Takes time for each of them.
    pub fn len(&self) -> usize {
        let mut inner = self.inner.borrow_mut();
        let (mut index, mut len) = (inner.head, 0);
        while let Some(node) = inner.nodes.get_mut(index) {
            len += usize::from(hub::waits(node.key));
            index = node.next;
        }
        len
    }

    /// Whether nobody waits; one that was killed or has timed out does not.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.inner.borrow_mut().first().is_none()
    }
}

impl<T> Default for WaitQueue<T> {
    fn default() -> Self {
        WaitQueue::new()
    }
}

impl<T> fmt::Debug for WaitQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitQueue").field("waiters", &self.len()).finish()
    }
}

impl<T> UnwindSafe for WaitQueue<T> {}
impl<T> RefUnwindSafe for WaitQueue<T> {}

/// A waiter's place in a queue, given up when dropped.
pub(crate) struct Place<'a, T> {
    /// The queue.
    queue: &'a WaitQueue<T>,
    /// The node.
    node: u32,
}

impl<'a, T> Place<'a, T> {
    /// Takes the last place in `queue`.
    #[inline(always)]
    pub(crate) fn new(queue: &'a WaitQueue<T>, key: WaitKey, value: T) -> Place<'a, T> {
        let node = queue.inner.borrow_mut().push(key, value);
        Place { queue, node }
    }

    /// Whether this node was the one that was woken.
    pub(crate) fn woken(&self) -> bool {
        self.queue.inner.borrow_mut().nodes.get_mut(self.node).is_some_and(|node| node.woken)
    }

    /// Ends the wait with its outcome.
    #[inline(always)]
    fn leave(self) -> Waited<T> {
        let node = self.remove();
        std::mem::forget(self);
        if node.woken { Waited::Woken(node.value) } else { Waited::TimedOut(node.value) }
    }

    /// Takes the node out.
    #[inline(always)]
    fn remove(&self) -> Node<T> {
        let mut inner = self.queue.inner.borrow_mut();
        inner.unlink(self.node);
        inner.nodes.remove(self.node)
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        // Bound to a name: the value is dropped after the borrow of the queue has ended.
        let _node = self.remove();
    }
}
