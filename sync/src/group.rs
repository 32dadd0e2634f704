//! Greenlets that are waited for, or killed, together.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use sward_runtime::lowlevel::{Killer, WaitQueue, Waited, can_park};
use sward_runtime::{Builder, Greenlet};

use crate::limit;

/// Greenlets that are waited for, or killed, together: gevent's `Group`.
///
/// A member leaves when it ends. Dropping the group detaches its members, which run on.
///
/// # Differences from gevent's `Group`
///
/// Members are spawned in it; there is no `add` and no `discard`. `map` and its like are
/// [`Pool`](crate::Pool)'s. `join` has no `raise_error`: join the handles that `spawn` returns.
///
/// ```
/// use sward::sync::Group;
///
/// let group = Group::new();
/// for n in 0..3 {
///     group.spawn(move || println!("member {n}"));
/// }
/// assert_eq!(group.len(), 3);
/// group.join();
/// assert!(group.is_empty());
/// ```
#[derive(Default)]
pub struct Group {
    /// Who belongs to it; shared with them.
    members: Rc<Members>,
}

impl Group {
    /// A group without members.
    ///
    /// ```
    /// assert!(sward::sync::Group::new().is_empty());
    /// ```
    pub fn new() -> Group {
        Group::default()
    }

    /// Spawns a greenlet as a member.
    ///
    /// # Panics
    ///
    /// As `sward::spawn`: if no stack can be had.
    ///
    /// ```
    /// let group = sward::sync::Group::new();
    /// assert_eq!(group.spawn(|| 7).join().unwrap(), 7);
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        self.members.spawn(Location::caller(), f)
    }

    /// How many members have not ended.
    ///
    /// ```
    /// let group = sward::sync::Group::new();
    /// group.spawn(|| ());
    /// assert_eq!(group.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether all members have ended.
    ///
    /// ```
    /// assert!(sward::sync::Group::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.members.len() == 0
    }

    /// Waits until there are no members. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if they can never end ("deadlock").
    ///
    /// ```
    /// let group = sward::sync::Group::new();
    /// let member = group.spawn(sward::yield_now);
    /// group.join();
    /// assert!(member.is_finished());
    /// ```
    pub fn join(&self) {
        self.members.join("Group::join");
    }

    /// As [`join`](Group::join), for at most `limit`; tells whether there are no members. Blocks the
    /// greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let group = sward::sync::Group::new();
    /// group.spawn(|| sward::sleep(Duration::from_secs(9)));
    /// assert!(!group.join_timeout(Duration::from_millis(1)));
    /// ```
    pub fn join_timeout(&self, limit: Duration) -> bool {
        self.members.join_timeout("Group::join_timeout", limit)
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
    /// let group = sward::sync::Group::new();
    /// let member = group.spawn(|| sward::sleep(Duration::from_secs(9)));
    /// group.kill();
    /// assert!(member.join().unwrap_err().is_killed());
    /// ```
    pub fn kill(&self) {
        self.members.kill("Group::kill");
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).field("waiters", &self.members.waiters()).finish()
    }
}

impl UnwindSafe for Group {}
impl RefUnwindSafe for Group {}

/// The members of a [`Group`] or a [`Pool`](crate::Pool).
#[derive(Default)]
pub(crate) struct Members {
    /// Those that have not ended, in the order in which they were spawned.
    list: RefCell<BTreeMap<u64, Member>>,
    /// The number of the next one.
    next: Cell<u64>,
    /// Who waits for the last one to end.
    joiners: WaitQueue,
    /// Who, in `kill`, waits for that. While one does, new members are killed at once.
    killers: WaitQueue,
}

/// A greenlet that has not ended.
struct Member {
    /// Kills it; `None` until it has been spawned.
    killer: Option<Killer>,
    /// Whether it was killed by the group.
    killed: bool,
}

impl Members {
    /// Spawns a member, on behalf of who called at `site`.
    #[track_caller]
    pub(crate) fn spawn<F, T>(self: &Rc<Self>, site: &'static Location<'static>, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let number = self.next.get();
        self.next.set(number + 1);
        self.list.borrow_mut().insert(number, Member { killer: None, killed: false });
        let work = Work { f, _ticket: Ticket { members: self.clone(), number } };
        let greenlet = match Builder::new().at(site).spawn(move || work.run()) {
            Ok(greenlet) => greenlet,
            Err(error) => panic!("failed to spawn a greenlet: {error}"),
        };
        // Added while somebody kills: it must not even begin.
        let killed = !self.killers.is_empty();
        if killed {
            greenlet.kill(); // only queues
        }
        if let Some(member) = self.list.borrow_mut().get_mut(&number) {
            *member = Member { killer: Some(Killer::of(&greenlet)), killed };
        }
        greenlet
    }

    /// How many have not ended.
    pub(crate) fn len(&self) -> usize {
        self.list.borrow().len()
    }

    /// How many wait for the end of all.
    pub(crate) fn waiters(&self) -> usize {
        self.joiners.len() + self.killers.len()
    }

    /// Waits until there is none.
    pub(crate) fn join(&self, call: &'static str) {
        if self.len() > 0 {
            self.joiners.wait(call, (), None);
        }
    }

    /// As `join`, within `limit`.
    pub(crate) fn join_timeout(&self, call: &'static str, limit: Duration) -> bool {
        self.len() == 0 || limit::wait(&self.joiners, call, (), limit) == Waited::Woken(()) || self.len() == 0
    }

    /// Kills all, each once, and waits until there is none.
    pub(crate) fn kill(&self, call: &'static str) {
        loop {
            for member in self.list.borrow_mut().values_mut().filter(|member| !member.killed) {
                if let Some(killer) = member.killer {
                    member.killed = true;
                    killer.kill(); // only queues
                }
            }
            if self.len() == 0 || !can_park() {
                return;
            }
            self.killers.wait(call, (), None);
        }
    }
}

/// What a member runs. Its fields are dropped in this order, also if it never runs.
struct Work<F> {
    /// The user's function.
    f: F,
    /// The membership.
    _ticket: Ticket,
}

impl<F, T> Work<F>
where
    F: FnOnce() -> T,
{
    /// Runs it.
    fn run(self) -> T {
        let Work { f, _ticket } = self;
        f()
    }
}

/// A membership; ends when dropped.
struct Ticket {
    /// Of what.
    members: Rc<Members>,
    /// The member's number.
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.members.list.borrow_mut().remove(&self.number);
        if self.members.len() == 0 {
            self.members.joiners.wake_all();
            self.members.killers.wake_all();
        }
    }
}
