//! What the tests share.

#![allow(dead_code)] // not every test file uses all of it

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Longer than any test takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// A wait that never ends by itself.
pub(crate) const EVER: Duration = Duration::from_secs(3600);

/// A wait that ends soon.
pub(crate) const SOON: Duration = Duration::from_millis(2);

/// Runs a test that could hang: on a hub of its own, and if it takes too long the process is aborted with
/// the test's name.
pub(crate) fn limited(test: impl FnOnce() + Send + 'static) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (done, wait) = mpsc::channel::<()>();
    let dog = thread::spawn(move || {
        if wait.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            std::process::abort();
        }
    });
    test();
    drop(done);
    dog.join().unwrap();
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

/// Lets every other greenlet run until it blocks.
pub(crate) fn settle() {
    for _ in 0..5 {
        sward::yield_now();
    }
}

/// Spawns it, and lets it run until it blocks.
pub(crate) fn started<T: 'static>(f: impl FnOnce() -> T + 'static) -> sward::Greenlet<T> {
    let greenlet = sward::spawn(f);
    settle();
    greenlet
}

/// Runs `f` in a destructor while its greenlet unwinds from a panic, and gives what it returned.
pub(crate) fn in_unwinding<T: 'static>(f: impl FnOnce() -> T + 'static) -> T {
    struct OnDrop<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0.take().unwrap())();
        }
    }
    let result = Rc::new(RefCell::new(None));
    let out = result.clone();
    let greenlet = sward::spawn(move || {
        let _guard = OnDrop(Some(move || *out.borrow_mut() = Some(f())));
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(greenlet.join().unwrap_err().is_panic());
    result.take().expect("the destructor ran")
}
