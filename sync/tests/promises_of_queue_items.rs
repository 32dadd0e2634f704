//! What the queues promise when the code of their items (`Ord`, `Clone`, `Drop`) misbehaves.

mod support;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use support::{limited, settle, started};
use sward::sync::{PriorityQueue, Queue};

/// Calls something of the user's in the middle of an operation of the queue.
type Hook = Rc<RefCell<Option<Box<dyn FnMut()>>>>;

/// An item whose every method calls a hook.
struct Rude(u32, Hook);

impl Rude {
    fn call(&self) {
        let hook = self.1.take();
        if let Some(mut hook) = hook {
            hook();
            self.1.borrow_mut().get_or_insert(hook);
        }
    }
}

impl Clone for Rude {
    fn clone(&self) -> Self {
        self.call();
        Rude(self.0, self.1.clone())
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.call();
    }
}

impl Ord for Rude {
    fn cmp(&self, other: &Self) -> Ordering {
        self.call();
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Rude {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rude {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rude {}

#[test]
fn code_of_items_may_use_the_queue_it_is_called_from() {
    limited(|| {
        let queue = Rc::new(PriorityQueue::unbounded());
        let hook: Hook = Rc::default();
        for n in [5, 3] {
            queue.put(Rude(n, hook.clone())).unwrap();
        }
        let calls = Rc::new(Cell::new(0));
        *hook.borrow_mut() = Some(Box::new({
            let (queue, calls) = (queue.clone(), calls.clone());
            move || {
                calls.set(calls.get() + 1);
                assert!(queue.len() <= 7);
                if calls.get() <= 3 {
                    queue.put(Rude(calls.get(), Rc::default())).unwrap();
                    let _ = queue.try_get();
                }
                sward::yield_now();
            }
        }));
        queue.put(Rude(4, hook.clone())).unwrap();
        assert_eq!(queue.peek().unwrap().0, queue.get().unwrap().0);
        hook.take();
        queue.close();
        let rest: Vec<_> = queue.iter().map(|item| item.0).collect();
        assert!(rest.is_sorted(), "{rest:?}");
        assert!(queue.is_empty());
    });
}

#[test]
fn getters_that_came_while_items_were_out_are_served() {
    limited(|| {
        let queue = Rc::new(PriorityQueue::unbounded());
        let hook: Hook = Rc::default();
        queue.put(Rude(5, hook.clone())).unwrap();
        *hook.borrow_mut() = Some(Box::new(settle));
        let get = {
            let queue = queue.clone();
            sward::spawn(move || queue.get().map(|item| item.0))
        };
        queue.put(Rude(4, hook.clone())).unwrap(); // the getter runs while these two are compared
        hook.take();
        settle();
        assert!(get.is_finished());
        let left = queue.get().unwrap().0;
        assert_eq!(left + get.join().unwrap().unwrap(), 9);
    });
}

#[test]
fn a_comparison_that_panics_loses_only_the_item_that_is_put() {
    limited(|| {
        let queue = PriorityQueue::unbounded();
        let hook: Hook = Rc::default();
        for n in [2, 1, 3] {
            queue.put(Rude(n, hook.clone())).unwrap();
        }
        *hook.borrow_mut() = Some(Box::new(|| std::panic::resume_unwind(Box::new("on purpose"))));
        let item = Rude(0, hook.clone());
        assert!(catch_unwind(AssertUnwindSafe(|| queue.put(item))).is_err());
        hook.take();
        assert_eq!(queue.len(), 3);
        queue.close();
        assert_eq!(queue.iter().map(|item| item.0).collect::<Vec<_>>(), [1, 2, 3]);
    });
}

#[test]
fn a_clone_that_panics_or_switches_leaves_the_item() {
    limited(|| {
        for capacity in [0, 2] {
            let queue = Rc::new(Queue::bounded(capacity));
            let hook: Hook = Rc::default();
            let put = {
                let (queue, hook) = (queue.clone(), hook.clone());
                started(move || queue.put(Rude(1, hook)).is_ok())
            };
            *hook.borrow_mut() = Some(Box::new(|| std::panic::resume_unwind(Box::new("on purpose"))));
            assert!(catch_unwind(AssertUnwindSafe(|| queue.peek())).is_err());
            hook.take();
            *hook.borrow_mut() = Some(Box::new(settle));
            let get = {
                let queue = queue.clone();
                sward::spawn(move || queue.get().map(|item| item.0))
            };
            assert_eq!(queue.peek().map(|item| item.0), Some(1));
            hook.take();
            assert_eq!(get.join().unwrap(), Some(1), "capacity {capacity}");
            assert!(put.join().unwrap());
        }
    });
}
