//! Which types cross threads, and which survive a panic: checked by the compiler.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use sward::Waitable;
use sward::sync::channel::{Receiver, Select, Sender};
use sward::sync::{
    AsyncResult, Barrier, Condvar, Event, Group, LifoQueue, Mutex, MutexGuard, OwnedPermit, Permit, Pool,
    PriorityQueue, Queue, ReentrantLock, ReentrantLockGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore,
};

/// Fails to compile if a type is `Send` or `Sync`: then `hint` has two meanings.
macro_rules! stays_on_its_thread {
    ($($Type:ty),* $(,)?) => {
        $({
            trait Ambiguous<A> {
                fn hint() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            impl<T: ?Sized + Send> Ambiguous<u8> for T {}
            <$Type as Ambiguous<_>>::hint();
            trait Shared<A> {
                fn hint() {}
            }
            impl<T: ?Sized> Shared<()> for T {}
            impl<T: ?Sized + Sync> Shared<u8> for T {}
            <$Type as Shared<_>>::hint();
        })*
    };
}

#[test]
fn types_of_one_hub_are_neither_send_nor_sync() {
    stays_on_its_thread!(
        Event,
        AsyncResult<u8>,
        Semaphore,
        Permit<'static>,
        OwnedPermit,
        Mutex<u8>,
        MutexGuard<'static, u8>,
        ReentrantLock<u8>,
        ReentrantLockGuard<'static, u8>,
        RwLock<u8>,
        RwLockReadGuard<'static, u8>,
        RwLockWriteGuard<'static, u8>,
        Condvar,
        Barrier,
        Queue<u8>,
        PriorityQueue<u8>,
        LifoQueue<u8>,
        Group,
        Pool,
        Select<'static>,
        Sender<Rc<u8>>,
        Receiver<Rc<u8>>,
    );
}

#[test]
fn channel_ends_cross_threads() {
    fn crosses<T: Send + Sync + Clone + 'static>() {}
    crosses::<Sender<u8>>();
    crosses::<Receiver<std::cell::Cell<u8>>>();
}

#[test]
fn all_survive_a_panic_as_std_s_do() {
    fn survives<T: UnwindSafe + RefUnwindSafe>() {}
    type Item = Box<dyn Fn()>;
    survives::<Event>();
    survives::<AsyncResult<u8>>();
    survives::<Semaphore>();
    survives::<Mutex<Item>>();
    survives::<ReentrantLock<u8>>();
    survives::<RwLock<Item>>();
    survives::<Condvar>();
    survives::<Barrier>();
    survives::<Queue<Item>>();
    survives::<LifoQueue<Item>>();
    survives::<PriorityQueue<u8>>();
    survives::<Group>();
    survives::<Pool>();
    survives::<Sender<Item>>();
    survives::<Receiver<Item>>();
}

#[test]
fn many_can_be_waited_for_together() {
    fn waitable<T: Waitable>() {}
    waitable::<Event>();
    waitable::<&AsyncResult<u8>>();
    waitable::<Rc<Semaphore>>();
    waitable::<Queue<u8>>();
    waitable::<PriorityQueue<u8>>();
    waitable::<LifoQueue<u8>>();
}

#[test]
fn most_are_made_at_compile_time() {
    thread_local! {
        static QUEUE: Queue<u8> = const { Queue::unbounded() };
        static SORTED: PriorityQueue<u8> = const { PriorityQueue::bounded(1) };
        static LOCKS: (Mutex<u8>, RwLock<u8>, ReentrantLock<u8>) =
            const { (Mutex::new(1), RwLock::new(1), ReentrantLock::new(1)) };
        static OTHERS: (AsyncResult<u8>, Event, Semaphore, Condvar, Barrier) =
            const { (AsyncResult::new(), Event::new(), Semaphore::new(1), Condvar::new(), Barrier::new(1)) };
    }
    assert!(QUEUE.with(Queue::is_empty) && SORTED.with(PriorityQueue::is_empty));
    assert_eq!(LOCKS.with(|locks| *locks.0.lock() + *locks.1.read() + *locks.2.lock()), 3);
    assert!(OTHERS.with(|others| !others.0.is_set() && !others.1.is_set()));
    let _ = (Event::default(), Condvar::default(), Group::default(), Queue::<u8>::default(), Mutex::<u8>::default());
    let _ = (RwLock::<u8>::default(), AsyncResult::<u8>::default(), ReentrantLock::<u8>::default());
}
