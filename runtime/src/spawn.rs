//! Making greenlets.

use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe, Location};
use std::rc::Rc;
use std::time::Duration;

use crate::greenlet::{launch, launch_scoped};
use crate::hub::{self, hub};
use crate::identity;
use crate::inspect;
use crate::join::{Greenlet, JoinError, Packet};
use crate::killer::Killer;
use crate::park::can_park;
use crate::report;
use crate::scheduler::Hub;
use crate::scope::{Children, Scope, ScopedGreenlet};
use crate::slot::{Slot, State};
use crate::stack::Stack;
use crate::thread_pointer::ThreadPointer;

/// Spawns a greenlet on this thread's hub: `f` runs on a stack of its own (256 KiB usable) once the
/// caller blocks.
///
/// `f` need not be `Send`. Ready greenlets run in the order in which they were spawned or woken.
///
/// # Panics
///
/// If no stack can be had (memory or address space is used up); [`Builder::spawn`] returns an
/// error instead.
///
/// ```
/// let g = sward::spawn(|| "hello from a greenlet");
/// assert_eq!(g.join().unwrap(), "hello from a greenlet");
/// ```
#[track_caller]
#[inline]
pub fn spawn<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    match spawn_with(Plan::new(Location::caller()), f, launch) {
        Ok(packet) => Greenlet::new(packet),
        Err(error) => no_stack(&error),
    }
}

/// Spawns a greenlet that starts after `delay`. Killed before that, it never runs.
///
/// # Panics
///
/// As [`spawn`].
///
/// ```
/// use std::time::{Duration, Instant};
/// let start = Instant::now();
/// let g = sward::spawn_later(Duration::from_millis(2), Instant::now);
/// assert!(g.join().unwrap() >= start + Duration::from_millis(2));
/// ```
#[track_caller]
pub fn spawn_later<F, T>(delay: Duration, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let start = hub().clock.after(delay);
    let late = move || {
        hub().sleep("spawn_later", start);
        f()
    };
    match spawn_with(Plan::new(Location::caller()), late, launch) {
        Ok(packet) => Greenlet::new(packet),
        Err(error) => no_stack(&error),
    }
}

/// Spawns a greenlet and lets it run at once, until it blocks for the first time or has finished; then the
/// caller goes on, before any other greenlet. For work that rarely blocks: on the stack that was used last, and
/// with its result there when this returns.
///
/// Not a blocking call: an interrupt of the caller waits for the next one. In a destructor that runs while the
/// greenlet unwinds it is `spawn`, and so it is in the waker of a future that waits for a [`Source`](crate::source::Source),
/// which the hub itself calls.
///
/// # Errors
///
/// If there is no stack to be had.
///
/// ```
/// let greenlet = sward::lowlevel::spawn_now(|| 6 * 7)?;
/// assert!(greenlet.is_finished());
/// assert_eq!(greenlet.join().unwrap(), 42);
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
#[inline]
pub fn spawn_now<F, T>(f: F) -> io::Result<Greenlet<T>>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let mut plan = Plan::new(Location::caller());
    plan.at_once = can_park();
    spawn_with(plan, f, launch).map(Greenlet::new)
}

/// As [`spawn_now`], but there is no handle: `then` is called with the result, on the greenlet's stack as its last act,
/// also if it was killed before it began. Cheaper, for greenlets that nobody joins.
///
/// # Errors
///
/// If there is no stack to be had; then neither is called.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
///
/// let answer = Rc::new(Cell::new(0));
/// let theirs = answer.clone();
/// sward::lowlevel::spawn_now_then(|| 6 * 7, move |result| theirs.set(result.unwrap()))?;
/// assert_eq!(answer.get(), 42);
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
#[inline]
pub fn spawn_now_then<F, T, E>(f: F, then: E) -> io::Result<Killer>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
    E: FnOnce(Result<T, JoinError>) + 'static,
{
    let mut plan = Plan::new(Location::caller());
    plan.at_once = can_park();
    occupy(plan).map(|seat| seat.start(plan, f, Then(then)))
}

/// As [`spawn_now_then`], but the greenlet runs when its turn has come, as with [`spawn`].
///
/// # Errors
///
/// The same.
///
/// ```
/// let killer = sward::lowlevel::spawn_then(|| 6 * 7, |result| assert!(result.unwrap_err().is_killed()))?;
/// killer.kill(); // it never runs
/// sward::yield_now();
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
#[inline]
pub fn spawn_then<F, T, E>(f: F, then: E) -> io::Result<Killer>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
    E: FnOnce(Result<T, JoinError>) + 'static,
{
    let plan = Plan::new(Location::caller());
    occupy(plan).map(|seat| seat.start(plan, f, Then(then)))
}

/// The panic of the functions that return no `Result`.
#[cold]
#[track_caller]
fn no_stack(error: &io::Error) -> ! {
    panic!("failed to spawn a greenlet: {error}")
}

/// A greenlet's name and stack size, as std's `thread::Builder`.
///
/// ```
/// let g = sward::Builder::new().name("reader").stack_size(64 * 1024).spawn(|| ())?;
/// assert_eq!(g.name(), Some("reader"));
/// # g.join().unwrap();
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// The name.
    name: Option<Rc<str>>,
    /// Usable bytes of stack.
    stack_size: Option<usize>,
    /// Whether it shares its thread's thread-locals.
    shared_tls: bool,
    /// Where the greenlet is spawned, if that is not the caller.
    site: Option<&'static Location<'static>>,
}

impl Builder {
    /// No name, the default stack size.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the greenlet, for reports.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into().into());
        self
    }

    /// How many bytes of stack the greenlet can use (the guard comes on top of that). Rounded up; after
    /// `patch::all` to 256 KiB at least.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Lets the greenlet use the thread-locals of its thread even after `sward::patch::all`, which gives each greenlet
    /// that is spawned after it some of its own. Before that call, all greenlets share those of their thread.
    ///
    /// Such a greenlet is cheaper to start, and finds what its thread has put there; but locks and channels made for
    /// threads block its thread.
    ///
    /// ```
    /// let g = sward::Builder::new().shared_tls().spawn(|| std::thread::current().id())?;
    /// assert_eq!(g.join().unwrap(), std::thread::current().id());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn shared_tls(mut self) -> Builder {
        self.shared_tls = true;
        self
    }

    /// The spawn site to show in reports, if it is not where `spawn` is called: for what spawns on behalf of a caller
    /// that has returned.
    ///
    /// ```
    /// let site = std::panic::Location::caller();
    /// let greenlet = sward::Builder::new().at(site).spawn(|| sward::inspect::snapshot())?;
    /// assert_eq!(greenlet.join().unwrap().last().unwrap().spawned_at, Some(site));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn at(mut self, site: &'static Location<'static>) -> Builder {
        self.site = Some(site);
        self
    }

    /// Spawns as [`spawn`] does.
    ///
    /// # Errors
    ///
    /// If there is no stack of that size to be had.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let plan = self.plan(Location::caller());
        spawn_with(plan, f, launch).map(Greenlet::new)
    }

    /// Spawns into `scope` as `Scope::spawn` does.
    ///
    /// # Errors
    ///
    /// If there is no stack of that size to be had.
    ///
    /// ```
    /// let text = String::from("borrowed");
    /// let len = sward::scope(|s| {
    ///     let builder = sward::Builder::new().name("counter");
    ///     builder.spawn_scoped(s, || text.len()).unwrap().join().unwrap()
    /// });
    /// assert_eq!(len, 8);
    /// ```
    #[track_caller]
    pub fn spawn_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        f: F,
    ) -> io::Result<ScopedGreenlet<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let mut plan = self.plan(Location::caller());
        plan.children = Some(scope.children());
        let packet = spawn_with(plan, f, |slot, stack, main| launch_scoped(scope, slot, stack, main))?;
        Ok(ScopedGreenlet::new(packet))
    }

    /// What was said so far.
    fn plan(&self, caller: &'static Location<'static>) -> Plan<'_> {
        let mut plan = Plan::new(self.site.unwrap_or(caller));
        plan.name = self.name.as_ref();
        plan.stack_size = self.stack_size;
        plan.shared_tls = self.shared_tls;
        plan
    }
}

/// Everything about a greenlet to be but what it runs. Owns nothing, so that the compiler sees through it where most of
/// it is constant.
#[derive(Clone, Copy)]
struct Plan<'a> {
    /// Its name.
    name: Option<&'a Rc<str>>,
    /// Usable bytes of stack.
    stack_size: Option<usize>,
    /// Where it is spawned.
    site: &'static Location<'static>,
    /// Whether it shares its thread's thread-locals even if greenlets have some of their own.
    shared_tls: bool,
    /// The scope it belongs to.
    children: Option<&'a Rc<Children>>,
    /// Whether it runs at once, until it blocks, and its caller right after it.
    at_once: bool,
}

impl Plan<'_> {
    /// Of an ordinary greenlet.
    #[inline]
    fn new(site: &'static Location<'static>) -> Self {
        Plan { name: None, stack_size: None, site, shared_tls: false, children: None, at_once: false }
    }

    /// Its thread-locals; `None` if it shares those of its thread.
    #[inline]
    fn identity(&self, hub: &Hub) -> io::Result<Option<ThreadPointer>> {
        if self.shared_tls { Ok(None) } else { hub.identities.take() }
    }
}

/// Makes a greenlet with a handle; `launch` puts its main function on the stack.
#[inline]
fn spawn_with<F, T>(
    plan: Plan<'_>,
    f: F,
    launch: impl FnOnce(&'static Slot, Stack, Main<F, T, Rc<Packet<T>>>),
) -> io::Result<Rc<Packet<T>>>
where
    F: FnOnce() -> T,
{
    let Seat { hub, slot, stack } = occupy(plan)?;
    let packet = Packet::new(slot.key(hub), plan.site);
    packet.describe(plan.name.cloned(), plan.children.cloned());
    launch(slot, stack, Main { f, ending: packet.clone(), slot, hub, returns: PhantomData });
    hub.admit(slot, plan);
    Ok(packet)
}

/// What a greenlet needs before it has something to run.
struct Seat {
    /// Its hub.
    hub: &'static Hub,
    /// Its slot.
    slot: &'static Slot,
    /// Its stack.
    stack: Stack,
}

/// Takes what a greenlet needs. Inlined, so that the compiler sees through the plan.
#[inline(always)]
fn occupy(plan: Plan<'_>) -> io::Result<Seat> {
    let hub = hub();
    let stack = hub.stacks.take(plan.stack_size)?;
    let identity = match plan.identity(hub) {
        Ok(identity) => identity,
        Err(error) => {
            hub.stacks.give(stack);
            return Err(error);
        }
    };
    let slot = hub.table.take();
    slot.identity.set(identity);
    slot.id.set(hub.next_serial());
    slot.spawned_at.set(plan.site);
    hub.accounts.spawned(slot, hub.current());
    if let Some(name) = plan.name {
        slot.name.replace(Some(name.clone()));
    }
    if let Some(children) = plan.children {
        children.enter();
        slot.scope.set(children.serial());
    }
    Ok(Seat { hub, slot, stack })
}

impl Seat {
    /// Starts a greenlet without a handle.
    #[inline]
    fn start<F, T, E>(self, plan: Plan<'_>, f: F, ending: E) -> Killer
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
        E: Ending<T> + 'static,
    {
        let Seat { hub, slot, stack } = self;
        let killer = Killer::new(slot.key(hub));
        launch(slot, stack, Main { f, ending, slot, hub, returns: PhantomData });
        hub.admit(slot, plan);
        killer
    }
}

impl Hub {
    /// A new greenlet is ready.
    #[inline(always)]
    fn admit(&'static self, slot: &'static Slot, plan: Plan<'_>) {
        self.live.set(self.live.get() + 1);
        self.wake_closers();
        // In the hub's own loop, from which wakers of futures are called, there is nobody to go on after it.
        if plan.at_once && self.current().state.get() == State::Running {
            return self.run_within_caller(slot);
        }
        self.push_ready(slot);
        if plan.children.is_some_and(|children| children.doomed()) {
            self.kill(slot);
        }
    }

    /// Runs a new greenlet until it parks, yields or finishes, right from the stack of who runs, who then goes on: half
    /// the switches of a way through the hub's loop. Once it has left this way it is resumed by the loop, as all are.
    #[inline]
    fn run_within_caller(&'static self, slot: &'static Slot) {
        let caller = self.current();
        caller.state.set(State::Ready); // and in no queue: nobody else resumes it
        slot.state.set(State::Ready);
        self.streak.set(0);
        // Counts for the loop, which looks at the outside: not from here, on a greenlet's stack.
        self.budget.set((self.budget.get() - 1).max(1));
        slot.switches.set(slot.switches.get() + 1);
        self.watch(slot);
        let finished = self.enter(slot);
        self.current.set(Some(caller));
        caller.state.set(State::Running);
        if let Some(stack) = finished {
            let _busy = self.busy();
            self.retire(slot, stack);
        }
        self.watch(caller);
    }

    /// Tells the watchdog, if there is one, who has the thread, on a greenlet's stack.
    #[inline]
    fn watch(&'static self, slot: &'static Slot) {
        if inspect::is_watching() {
            let _busy = self.busy();
            inspect::starts(self, slot);
        }
    }
}

/// Who is told that a greenlet has ended.
pub(crate) trait Ending<T> {
    /// The scope that the greenlet belongs to.
    fn children(&self) -> Option<Rc<Children>>;
    /// The greenlet has ended, on whose stack this is. Does not unwind.
    fn tell(self, result: Result<T, JoinError>);
}

/// Those who have its handle, if it has one.
impl<T> Ending<T> for Rc<Packet<T>> {
    #[inline]
    fn children(&self) -> Option<Rc<Children>> {
        self.children.get().cloned()
    }

    #[inline]
    fn tell(self, result: Result<T, JoinError>) {
        self.finish(result);
        if Rc::strong_count(&self) > 1 {
            drop(self);
        } else {
            discard_packet(self);
        }
    }
}

/// A function instead of a handle.
struct Then<E>(E);

impl<T, E: FnOnce(Result<T, JoinError>)> Ending<T> for Then<E> {
    #[inline]
    fn children(&self) -> Option<Rc<Children>> {
        None
    }

    #[inline]
    fn tell(self, result: Result<T, JoinError>) {
        // The panic hook has told what there is to tell.
        drop(panic::catch_unwind(AssertUnwindSafe(|| (self.0)(result))));
    }
}

/// This file: what is called from here in a backtrace is a greenlet's own function.
pub(crate) const SOURCE: &str = file!();

/// What a greenlet runs: the user's function, and what is to be done around it.
pub(crate) struct Main<F, T, E> {
    /// The user's function.
    f: F,
    /// Where its result goes.
    ending: E,
    /// The greenlet's slot.
    slot: &'static Slot,
    /// The hub that it is a greenlet of.
    hub: &'static Hub,
    /// What the function returns.
    returns: PhantomData<fn() -> T>,
}

impl<F, T, E> Main<F, T, E>
where
    F: FnOnce() -> T,
    E: Ending<T>,
{
    /// Runs on the greenlet's stack. Does not unwind.
    #[inline]
    pub(crate) fn run(self) {
        let Main { f, ending, slot, hub, .. } = self;
        slot.state.set(State::Running);
        identity::begin(hub, slot);
        let mut result = if slot.interrupts.killed() {
            discard(f).and(Err(JoinError::killed()))
        } else {
            panic::catch_unwind(AssertUnwindSafe(f)).map_err(JoinError::from_payload)
        };
        if !slot.locals.is_empty()
            && let Err(error) = slot.locals.clear()
            && result.is_ok()
        {
            // The value must be dropped where a panic of its destructor is caught too.
            let _ = discard(std::mem::replace(&mut result, Err(error)));
        }
        identity::destroy(slot);
        let children = ending.children();
        let panicked = result.as_ref().is_err_and(JoinError::is_panic);
        ending.tell(result);
        if hub::existing().is_none_or(|here| here.serial != hub.serial) {
            exit_forked_child(panicked);
        }
        if let Some(children) = children {
            children.leave();
        }
        identity::end(slot);
        slot.state.set(State::Vacant);
    }
}

/// Drops the result of a greenlet whose handle is gone: its destructor is the user's, and may panic.
#[inline(never)]
fn discard_packet<T>(packet: Rc<Packet<T>>) {
    let children = packet.children.get().cloned();
    let (id, site) = (packet.id(), packet.site);
    if let Err(error) = discard(packet)
        && error.is_panic()
    {
        match &children {
            Some(children) => children.report_panic(),
            None => report::line(format_args!(
                "the result of greenlet {id} (spawned at {site}), which nobody joined, panicked when it was dropped"
            )),
        }
    }
}

/// Drops a value and catches the panic of its destructor.
pub(crate) fn discard<V>(value: V) -> Result<(), JoinError> {
    let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(value)));
    dropped.map_err(|payload: Box<dyn Any + Send>| JoinError::from_payload(payload))
}

/// The end of a greenlet that called `fork`, in the child: the hub that it would return to is the
/// parent's. As with a forked thread, the end of the child's only thread is its end.
#[cold]
fn exit_forked_child(panicked: bool) -> ! {
    // 101 is what a panic of the main thread exits with.
    std::process::exit(if panicked { 101 } else { 0 });
}

impl<F, T, E> fmt::Debug for Main<F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Main").finish_non_exhaustive()
    }
}
