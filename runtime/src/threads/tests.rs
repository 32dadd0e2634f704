use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, channel};
use std::sync::{Arc, Barrier};

use super::*;

/// Long enough for anything that does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `f` on a thread of its own, and fails if it is not done within `limit`.
pub(crate) fn within(limit: Duration, f: impl FnOnce() + Send + 'static) {
    let (done, end) = channel::<()>();
    let test = thread::spawn(move || {
        let _done = done;
        f();
    });
    if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
        panic!("hangs: not done after {limit:?}");
    }
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A pool whose threads leave after `idle_ms` without a job.
fn pool(cap: usize, idle_ms: u64) -> &'static ThreadPool {
    let limit = Duration::from_millis(idle_ms);
    Box::leak(Box::new(ThreadPool::with_idle_limit("test", cap, limit)))
}

/// Runs `f` on the pool and waits for what it returns.
fn ask<T: Send + 'static>(pool: &'static ThreadPool, f: fn() -> T) -> T {
    let (tell, told) = channel();
    let job = Box::new(move || tell.send(f()).unwrap());
    pool.execute(job).unwrap();
    told.recv_timeout(PATIENCE).unwrap()
}

/// Waits until the books of the pool's crew are as `wanted`.
fn wait_until(pool: &'static ThreadPool, wanted: fn(&State) -> bool) {
    let crew = pool.crew(crate::fork::generation()).unwrap();
    let start = Instant::now();
    while !wanted(&crew.lock()) {
        assert!(start.elapsed() < PATIENCE, "hangs");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn as_many_jobs_run_at_once_as_the_cap_says_and_no_more() {
    within(PATIENCE, || {
        let pool = pool(3, 10_000);
        // Each three jobs meet, which they only can if three run at once.
        let meeting = Arc::new(Barrier::new(3));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (tell, told) = channel();
        for _ in 0..60 {
            let (meeting, tell) = (meeting.clone(), tell.clone());
            let (running, most) = (running.clone(), most.clone());
            let job = move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                meeting.wait();
                running.fetch_sub(1, Ordering::SeqCst);
                tell.send(()).unwrap();
            };
            pool.execute(Box::new(job)).unwrap();
        }
        (0..60).for_each(|_| told.recv().unwrap());
        assert_eq!(most.load(Ordering::SeqCst), 3);
        wait_until(pool, |state| state.made == 3 && state.idle == 3);
    });
}

#[test]
fn a_waiting_thread_is_used_again() {
    let pool = pool(5, 10_000);
    let first = ask(pool, || thread::current().id());
    for _ in 0..100 {
        wait_until(pool, |state| state.idle == 1);
        assert_eq!(ask(pool, || thread::current().id()), first);
    }
    wait_until(pool, |state| state.made == 1);
}

#[test]
fn two_jobs_at_once_do_not_share_one_waiting_thread() {
    within(PATIENCE, || {
        let pool = pool(2, 10_000);
        ask(pool, || ());
        for _ in 0..100 {
            wait_until(pool, |state| state.idle == state.threads);
            let meeting = Arc::new(Barrier::new(3));
            for _ in 0..2 {
                let meeting = meeting.clone();
                let job = move || {
                    meeting.wait();
                };
                pool.execute(Box::new(job)).unwrap();
            }
            meeting.wait();
        }
    });
}

#[test]
fn threads_leave_and_come_back() {
    let pool = pool(2, 20);
    for round in 1..4 {
        let start = Instant::now();
        let name = ask(pool, || thread::current().name().map(String::from));
        assert_eq!(name, Some(format!("test-{}", round - 1)));
        wait_until(pool, |state| state.threads == 0);
        assert!(start.elapsed() >= Duration::from_millis(20));
        wait_until(pool, |state| state.idle == 0 && state.jobs.is_empty());
    }
}

#[test]
fn jobs_that_come_while_threads_leave_are_run() {
    within(PATIENCE, || {
        let pool = pool(2, 1);
        for i in 0..300 {
            ask(pool, || ());
            thread::sleep(Duration::from_micros(900 + i));
        }
    });
}

#[test]
fn jobs_begin_in_order() {
    let pool = pool(1, 10_000);
    let (tell, told) = channel();
    for i in 0..1000 {
        let tell = tell.clone();
        pool.execute(Box::new(move || tell.send(i).unwrap())).unwrap();
    }
    drop(tell);
    assert!(told.iter().eq(0..1000));
}

#[test]
fn a_job_that_panics_costs_nothing() {
    /// Panics once more when it is dropped.
    struct Twice;
    impl Drop for Twice {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("in the payload's destructor"));
        }
    }
    let pool = pool(1, 10_000);
    let first = ask(pool, || thread::current().id());
    // Without the panic hook's message.
    let jobs: [fn(); 2] = [|| std::panic::resume_unwind(Box::new(())), || std::panic::resume_unwind(Box::new(Twice))];
    for job in jobs {
        pool.execute(Box::new(job)).unwrap();
    }
    assert_eq!(ask(pool, || thread::current().id()), first);
    wait_until(pool, |state| state.threads == 1 && state.idle == 1);
}

/// A plan whose threads cannot be made.
fn impossible(plan: Plan) -> Plan {
    let stack_size = Some(1 << 60);
    Plan { stack_size, ..plan }
}

#[test]
fn without_any_thread_the_job_is_refused_and_dropped() {
    let pool = pool(2, 10_000);
    let crew = pool.crew(0).unwrap();
    let (tell, told) = channel::<()>();
    let job = Box::new(move || tell.send(()).unwrap());
    crew.execute(impossible(pool.plan), job).unwrap_err();
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    assert!(crew.lock().jobs.is_empty());
}

#[test]
fn with_some_thread_the_job_waits() {
    let pool = pool(2, 10_000);
    let crew = pool.crew(0).unwrap();
    let (open, gate) = channel();
    let (tell, told) = channel();
    let first = Box::new(move || gate.recv().unwrap());
    crew.execute(pool.plan, first).unwrap();
    let second = Box::new(move || tell.send(()).unwrap());
    crew.execute(impossible(pool.plan), second).unwrap();
    assert!(told.try_recv().is_err());
    open.send(()).unwrap();
    told.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_child_never_touches_its_ancestors_crews() {
    within(PATIENCE, || {
        let pool = pool(1, 10_000);
        let mut locked = Vec::new();
        for generation in 0..50 {
            let (tell, told) = channel();
            let job = move || tell.send(thread::current().name().map(String::from)).unwrap();
            pool.execute_in(generation, Box::new(job)).unwrap();
            assert_eq!(told.recv().unwrap().as_deref(), Some("test-0"));
            // As a fork in this moment would leave it to the next one.
            let crew = pool.crew(generation).unwrap();
            locked.push(crew.lock());
            assert!(std::ptr::eq(crew, pool.crew(generation).unwrap()));
        }
    });
}
