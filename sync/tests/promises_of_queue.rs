//! What the queues promise.

mod support;

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

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
