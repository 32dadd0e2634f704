//! What the queues promise.

mod support;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use support::{EVER, Log, SOON, in_unwinding, limited, settle, started};
use sward::Greenlet;
use sward::sync::{
    Closed, GetTimeoutError, LifoQueue, PriorityQueue, PutTimeoutError, Queue, TryGetError, TryPutError,
};

/// A greenlet that puts and tells what came of it.
fn putter(queue: &Rc<Queue<u32>>, item: u32) -> Greenlet<Result<(), Closed<u32>>> {
    let queue = queue.clone();
    started(move || queue.put(item))
}

/// A greenlet that gets.
fn getter(queue: &Rc<Queue<u32>>) -> Greenlet<Option<u32>> {
    let queue = queue.clone();
    started(move || queue.get())
}

#[test]
fn items_come_out_in_the_order_of_the_queue() {
    let (fifo, lifo, sorted) = (Queue::unbounded(), LifoQueue::unbounded(), PriorityQueue::unbounded());
    for n in [3, 1, 2, 1] {
        fifo.put(n).unwrap();
        lifo.put(n).unwrap();
        sorted.put(n).unwrap();
    }
    fifo.close();
    lifo.close();
    sorted.close();
    assert_eq!(fifo.iter().collect::<Vec<_>>(), [3, 1, 2, 1]);
    assert_eq!(lifo.iter().collect::<Vec<_>>(), [1, 2, 1, 3]);
    assert_eq!(sorted.iter().collect::<Vec<_>>(), [1, 1, 2, 3]);
}

#[test]
fn equal_items_of_a_priority_queue_keep_their_order() {
    #[derive(Clone, Debug)]
    struct Job(u32, &'static str);
    impl Ord for Job {
        fn cmp(&self, other: &Self) -> Ordering {
            self.0.cmp(&other.0)
        }
    }
    impl PartialOrd for Job {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl PartialEq for Job {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Job {}
    let queue = PriorityQueue::unbounded();
    for job in [Job(1, "a"), Job(0, "b"), Job(1, "c"), Job(0, "d"), Job(1, "e")] {
        queue.put(job).unwrap();
    }
    assert_eq!(queue.peek().unwrap().1, "b", "peek keeps the order too");
    queue.close();
    assert_eq!(queue.iter().map(|job| job.1).collect::<Vec<_>>(), ["b", "d", "a", "c", "e"]);
}

#[test]
fn a_full_queue_takes_the_items_of_its_putters_in_order_of_arrival() {
    limited(|| {
        let queue = Rc::new(Queue::bounded(2));
        queue.put(0).unwrap();
        queue.put(1).unwrap();
        assert_eq!(queue.try_put(9), Err(TryPutError::Full(9)));
        let putters: Vec<_> = (2..5).map(|n| putter(&queue, n)).collect();
        assert_eq!(queue.get(), Some(0));
        assert_eq!(queue.len(), 2, "the first putter's item went in at that moment");
        assert_eq!(queue.try_put(9), Err(TryPutError::Full(9)), "nobody barges in");
        putters[1].kill();
        assert_eq!((queue.get(), queue.get(), queue.get()), (Some(1), Some(2), Some(4)));
        let results: Vec<_> = sward::join_all(putters).into_iter().map(Result::ok).collect();
        assert_eq!(results, [Some(Ok(())), None, Some(Ok(()))]);
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    });
}

#[test]
fn a_rendezvous_put_returns_once_taken() {
    limited(|| {
        let queue = Rc::new(Queue::bounded(0));
        assert_eq!(queue.try_put(0), Err(TryPutError::Full(0)));
        let put = putter(&queue, 1);
        settle();
        assert!(!put.is_finished());
        assert_eq!((queue.len(), queue.is_full(), queue.capacity()), (0, true, Some(0)));
        assert_eq!(queue.peek(), Some(1), "a look takes nothing");
        assert!(!put.is_finished());
        assert_eq!(queue.get(), Some(1));
        put.join().unwrap().unwrap();
        let get = getter(&queue);
        assert_eq!(queue.try_put(2), Ok(()), "somebody waits for it");
        assert_eq!(get.join().unwrap(), Some(2));
    });
}

#[test]
fn what_was_handed_over_survives_a_kill_and_the_killed_are_skipped() {
    limited(|| {
        let (queue, log) = (Rc::new(Queue::unbounded()), Log::default());
        let first = getter(&queue);
        let second = started({
            let (queue, log) = (queue.clone(), log.clone());
            move || {
                log.add(format!("got {:?}", queue.get()));
                sward::yield_now();
                log.add("not reached");
            }
        });
        first.kill();
        queue.put(7).unwrap();
        second.kill();
        assert!(first.join().is_err());
        assert!(second.join().is_err());
        assert_eq!(log.take(), ["got Some(7)"]);
        assert!(queue.is_empty());
    });
}

#[test]
fn close_lets_getters_drain_and_gives_putters_their_items_back() {
    limited(|| {
        let queue = Rc::new(Queue::bounded(1));
        queue.put(1).unwrap();
        let put = putter(&queue, 2);
        queue.close();
        queue.close();
        assert_eq!(put.join().unwrap(), Err(Closed(2)));
        assert_eq!(queue.put(3), Err(Closed(3)));
        assert_eq!(queue.try_put(3), Err(TryPutError::Closed(3)));
        assert_eq!(queue.put_timeout(3, SOON), Err(PutTimeoutError::Closed(3)));
        assert_eq!((queue.get(), queue.get(), queue.peek()), (Some(1), None, None));
        assert_eq!(queue.try_get(), Err(TryGetError::Closed));
        assert_eq!(queue.get_timeout(SOON), Err(GetTimeoutError::Closed));

        let empty = Rc::new(Queue::unbounded());
        let (get, limited_get) = (getter(&empty), {
            let empty = empty.clone();
            started(move || empty.get_timeout(EVER))
        });
        let peek = {
            let empty = empty.clone();
            started(move || empty.peek())
        };
        empty.close();
        assert_eq!(get.join().unwrap(), None);
        assert_eq!(limited_get.join().unwrap(), Err(GetTimeoutError::Closed));
        assert_eq!(peek.join().unwrap(), None);
    });
}

#[test]
fn limits_give_the_item_back() {
    limited(|| {
        let queue = Rc::new(Queue::bounded(1));
        assert_eq!(queue.get_timeout(SOON), Err(GetTimeoutError::Timeout));
        assert_eq!(queue.get_timeout(Duration::ZERO), Err(GetTimeoutError::Timeout));
        queue.put(1).unwrap();
        assert_eq!(queue.put_timeout(2, SOON), Err(PutTimeoutError::Timeout(2)));
        assert_eq!(queue.len(), 1);
        let put = started({
            let queue = queue.clone();
            move || queue.put_timeout(3, EVER)
        });
        assert_eq!(queue.get(), Some(1));
        assert_eq!(put.join().unwrap(), Ok(()));
        assert_eq!(queue.get_timeout(EVER), Ok(3));
    });
}

#[test]
fn calls_that_can_succeed_do_not_switch() {
    limited(|| {
        let queue = Queue::bounded(2);
        let other = sward::spawn(|| ());
        queue.put(1).unwrap();
        assert_eq!(queue.peek(), Some(1));
        assert_eq!(queue.get(), Some(1));
        assert!(!other.is_finished());
    });
}

#[test]
fn in_a_destructor_they_give_up() {
    limited(|| {
        assert_eq!(in_unwinding(|| Queue::<u32>::unbounded().get()), None);
        assert_eq!(in_unwinding(|| Queue::<u32>::unbounded().peek()), None);
        assert_eq!(in_unwinding(|| Queue::bounded(0).put(1)), Err(Closed(1)));
        assert_eq!(in_unwinding(|| Queue::bounded(0).put_timeout(1, EVER)), Err(PutTimeoutError::Timeout(1)));
        assert_eq!(in_unwinding(|| Queue::<u32>::bounded(0).get_timeout(EVER)), Err(GetTimeoutError::Timeout));
    });
}

#[test]
fn join_waits_for_every_put_to_be_done() {
    limited(|| {
        let queue = Rc::new(Queue::bounded(1));
        queue.join();
        let consumer = {
            let queue = queue.clone();
            sward::spawn(move || {
                let mut sum = 0;
                for n in &*queue {
                    sward::yield_now();
                    sum += n;
                    queue.task_done();
                }
                sum
            })
        };
        for n in 1..=10 {
            queue.put(n).unwrap();
        }
        queue.join();
        assert!(queue.is_empty());
        let panic = catch_unwind(AssertUnwindSafe(|| queue.task_done())).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("Queue::task_done"), "{message}");
        queue.close();
        assert_eq!(consumer.join().unwrap(), 55);
    });
}

#[test]
fn a_killed_putter_left_no_unfinished_work() {
    limited(|| {
        let queue = Rc::new(Queue::bounded(0));
        let put = putter(&queue, 1);
        put.kill();
        assert!(put.join().is_err());
        queue.join();
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    });
}

#[test]
fn peek_waits_and_takes_nothing() {
    limited(|| {
        let queue = Rc::new(Queue::unbounded());
        let peeks = [0, 1].map(|_| {
            let queue = queue.clone();
            started(move || queue.peek())
        });
        queue.put(5).unwrap();
        for peek in peeks {
            assert_eq!(peek.join().unwrap(), Some(5));
        }
        assert_eq!(queue.get(), Some(5));
    });
}

#[test]
fn wait_any_sees_items_closing_and_the_item_of_a_rendezvous() {
    limited(|| {
        let (queue, meeting) = (Rc::new(Queue::unbounded()), Rc::new(Queue::bounded(0)));
        let watch = |queue: &Rc<Queue<u32>>, meeting: &Rc<Queue<u32>>| {
            let (queue, meeting) = (queue.clone(), meeting.clone());
            started(move || sward::wait_any(&[&queue, &meeting]))
        };
        let watcher = watch(&queue, &meeting);
        let put = putter(&meeting, 1);
        assert_eq!(watcher.join().unwrap(), 1);
        assert_eq!(meeting.get(), Some(1));
        put.join().unwrap().unwrap();
        let watcher = watch(&queue, &meeting);
        queue.put(1).unwrap();
        assert_eq!(watcher.join().unwrap(), 0);
        assert_eq!(queue.len(), 1);
        queue.get();
        let watcher = watch(&queue, &meeting);
        meeting.close();
        assert_eq!(watcher.join().unwrap(), 1);
    });
}

#[test]
fn errors_compare_and_show_without_asking_anything_of_the_item() {
    struct Opaque;
    let queue = Queue::bounded(0);
    assert_eq!(format!("{:?}", queue.try_put(Opaque)), "Err(Full(..))");
    queue.close();
    assert_eq!(queue.put(Opaque).unwrap_err().to_string(), "the queue is closed");
    assert_eq!(format!("{queue:?}"), "Queue { len: 0, capacity: Some(0), closed: true, unfinished: 0, waiters: 0 }");
}

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

/// What may happen to a queue.
#[derive(Clone, Copy, Debug)]
enum Step {
    Put,
    Get,
    TryPut,
    TryGet,
    Kill(usize),
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Put),
        6 => Just(Step::Get),
        2 => Just(Step::TryPut),
        2 => Just(Step::TryGet),
        4 => (0..20_usize).prop_map(Step::Kill),
        1 => Just(Step::Close),
    ];
    proptest::collection::vec(step, 1..80)
}

/// What is known of somebody: `None` while he waits.
type Outcome = Option<Result<Option<u32>, ()>>;

/// A queue in words that one sees to be right. Items are the numbers of those who put them.
struct Model {
    capacity: usize,
    items: VecDeque<u32>,
    putters: VecDeque<usize>,
    getters: VecDeque<usize>,
    closed: bool,
    outcomes: Vec<Outcome>,
}

impl Model {
    /// Whoever can be served is, until nobody can.
    fn run(&mut self) {
        loop {
            let next = self.items.front().copied().or(self.putters.front().map(|putter| *putter as u32));
            if let (Some(item), Some(&getter)) = (next, self.getters.front()) {
                if self.items.pop_front().is_none() {
                    let putter = self.putters.pop_front().unwrap();
                    self.outcomes[putter] = Some(Ok(None));
                }
                self.getters.pop_front();
                self.outcomes[getter] = Some(Ok(Some(item)));
            } else if self.items.len() < self.capacity && !self.putters.is_empty() {
                let putter = self.putters.pop_front().unwrap();
                self.items.push_back(putter as u32);
                self.outcomes[putter] = Some(Ok(None));
            } else {
                break;
            }
        }
        if self.closed {
            for putter in self.putters.drain(..) {
                self.outcomes[putter] = Some(Err(()));
            }
            for getter in self.getters.drain(..) {
                self.outcomes[getter] = Some(Ok(None));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does(capacity in 0..4_usize, steps in steps()) {
        let queue = Rc::new(Queue::bounded(capacity));
        let mut people: Vec<Greenlet<Result<Option<u32>, ()>>> = Vec::new();
        let mut killed = Vec::new();
        let mut model = Model {
            capacity,
            items: VecDeque::new(),
            putters: VecDeque::new(),
            getters: VecDeque::new(),
            closed: false,
            outcomes: Vec::new(),
        };
        for step in steps {
            let number = people.len();
            match step {
                Step::Put | Step::Get => {
                    let queue = queue.clone();
                    let puts = matches!(step, Step::Put);
                    people.push(started(move || {
                        if puts {
                            queue.put(number as u32).map(|()| None).map_err(drop)
                        } else {
                            Ok(queue.get())
                        }
                    }));
                    killed.push(false);
                    model.outcomes.push(None);
                    match (puts, model.closed) {
                        (true, true) => model.outcomes[number] = Some(Err(())),
                        (true, false) => model.putters.push_back(number),
                        (false, _) => model.getters.push_back(number),
                    }
                }
                Step::TryPut => {
                    let result = queue.try_put(1000);
                    let has_room = model.items.len() < capacity || !model.getters.is_empty();
                    prop_assert_eq!(result.is_ok(), has_room && !model.closed);
                    if result.is_ok() {
                        model.items.push_back(1000);
                    }
                }
                Step::TryGet => {
                    let expected = model.items.pop_front().or_else(|| {
                        let putter = model.putters.pop_front()?;
                        model.outcomes[putter] = Some(Ok(None));
                        Some(putter as u32)
                    });
                    prop_assert_eq!(queue.try_get().ok(), expected);
                }
                Step::Kill(n) if n < people.len() => {
                    people[n].kill();
                    killed[n] = killed[n] || model.outcomes[n].is_none();
                    model.putters.retain(|putter| *putter != n);
                    model.getters.retain(|getter| *getter != n);
                }
                Step::Kill(_) => {}
                Step::Close => {
                    queue.close();
                    model.closed = true;
                }
            }
            model.run();
            prop_assert_eq!(queue.len(), model.items.len());
        }
        queue.close();
        model.closed = true;
        model.run();
        for (n, person) in people.into_iter().enumerate() {
            match person.join() {
                Ok(outcome) => prop_assert_eq!(Some(outcome), model.outcomes[n]),
                Err(_) => prop_assert!(killed[n]),
            }
        }
        prop_assert_eq!(queue.iter().collect::<Vec<_>>(), Vec::from(model.items));
    }
}
