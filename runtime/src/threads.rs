//! The OS threads behind `offload`: for calls that block and cannot be made green.
//!
//! ```text
//! execute(job) ─▶ crew of this process ─▶ jobs ─▶ a thread that waits takes the oldest
//!                                           │     none waits: one more thread, up to `cap`
//!                                           │     at `cap`: the job waits for its turn
//!                                           └──── 10 s without a job: the thread leaves
//! ```
//!
//! The child of a fork has none of these threads: it has a crew of its own ([`PerProcess`]).

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::per_process::PerProcess;

/// How long a thread waits for its next job before it leaves.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// Something to run on an OS thread.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// A pool of OS threads for [`offload_to`](crate::lowlevel::offload_to), meant for a `static`; it
/// has no threads until there are jobs, and idle ones leave after ten seconds.
///
/// ```
/// use sward::lowlevel::{ThreadPool, offload_to};
///
/// static PRINTERS: ThreadPool = ThreadPool::new("my-printer", 2);
/// assert_eq!(offload_to(&PRINTERS, "print", || 6 * 7), 42);
/// ```
pub struct ThreadPool {
    /// What this pool's threads are like.
    plan: Plan,
    /// The crews of this process and its ancestors.
    crews: PerProcess<Crew>,
}

/// What a pool's threads are like.
#[derive(Clone, Copy)]
struct Plan {
    /// The threads are named this, a hyphen, and a number.
    name: &'static str,
    /// How many threads there may be at a time.
    cap: usize,
    /// How long a thread waits for its next job before it leaves.
    idle_limit: Duration,
    /// Bytes of stack for each thread, if not as many as std gives.
    stack_size: Option<usize>,
}

/// The threads of one pool in one process.
struct Crew {
    /// What the threads are to do, and how many there are. No job runs with this locked.
    state: Mutex<State>,
    /// Signalled once for each new job if threads wait.
    job: Condvar,
}

/// What a crew has to do, and who is there to do it.
struct State {
    /// Jobs that no thread has taken, oldest first.
    jobs: VecDeque<Job>,
    /// Threads there are.
    threads: usize,
    /// Threads that wait for a job, or were signalled but have not taken theirs yet.
    idle: usize,
    /// Threads ever made: the next one's number.
    made: u64,
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("name", &self.plan.name).field("cap", &self.plan.cap).finish_non_exhaustive()
    }
}

impl ThreadPool {
    /// A pool of at most `cap` threads, named `name-0`, `name-1` and so on.
    ///
    /// # Panics
    ///
    /// If `cap` is 0.
    pub const fn new(name: &'static str, cap: usize) -> ThreadPool {
        ThreadPool::with_idle_limit(name, cap, IDLE_LIMIT)
    }

    /// As `new`, with another limit for threads that have nothing to do.
    const fn with_idle_limit(name: &'static str, cap: usize, idle_limit: Duration) -> ThreadPool {
        assert!(cap > 0, "a pool without threads");
        let plan = Plan { name, cap, idle_limit, stack_size: None };
        ThreadPool { plan, crews: PerProcess::new() }
    }

    /// Has `job` run on a thread of the pool; jobs begin in the order they came in. Its panic is
    /// caught and dropped: who wants to know wraps the job.
    ///
    /// # Errors
    ///
    /// There is no thread and none can be made. The job is dropped.
    pub(crate) fn execute(&'static self, job: Job) -> io::Result<()> {
        self.execute_in(crate::fork::generation(), job)
    }

    /// `execute` in the process of the given fork generation.
    fn execute_in(&'static self, generation: u64, job: Job) -> io::Result<()> {
        match self.crew(generation) {
            Some(crew) => crew.execute(self.plan, job),
            None => Err(io::Error::other("sward: forked while making thread pools")),
        }
    }

    /// The crew of the process of that generation.
    fn crew(&'static self, generation: u64) -> Option<&'static Crew> {
        self.crews.get_in(generation, Crew::new)
    }
}

impl Crew {
    /// No threads, no jobs.
    fn new() -> Crew {
        Crew { state: Mutex::new(State { jobs: VecDeque::new(), threads: 0, idle: 0, made: 0 }), job: Condvar::new() }
    }

    /// Queues the job, and sees to it that a thread takes it.
    fn execute(&'static self, plan: Plan, job: Job) -> io::Result<()> {
        let mut state = self.lock();
        state.jobs.push_back(job);
        // A signalled thread counts as idle until it runs, hence more than one job may be meant
        // for those who wait: each takes one.
        if state.jobs.len() <= state.idle {
            self.job.notify_one();
            return Ok(());
        }
        if state.threads == plan.cap {
            return Ok(());
        }
        match self.add_thread(plan, &mut state) {
            Ok(()) => Ok(()),
            // Those there are will come to it.
            Err(_) if state.threads > 0 => Ok(()),
            Err(error) => {
                // The only job there is, since nobody was there to take an earlier one. Dropped
                // with the lock released: its destructor may do anything.
                let job = state.jobs.pop_back();
                drop(state);
                drop(job);
                Err(error)
            }
        }
    }

    /// One thread more.
    fn add_thread(&'static self, plan: Plan, state: &mut State) -> io::Result<()> {
        let mut builder = thread::Builder::new().name(format!("{}-{}", plan.name, state.made));
        if let Some(bytes) = plan.stack_size {
            builder = builder.stack_size(bytes);
        }
        builder.spawn(move || self.work(plan))?;
        state.threads += 1;
        state.made += 1;
        Ok(())
    }

    /// What a thread does.
    fn work(&self, plan: Plan) {
        while let Some(job) = self.next_job(plan.idle_limit) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                // A payload may panic when dropped; one that does so for ever is let be.
                if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                    mem::forget(again);
                }
            }
        }
    }

    /// The oldest job; `None` if none came within `idle_limit`, and the thread is off the books.
    fn next_job(&self, idle_limit: Duration) -> Option<Job> {
        let mut state = self.lock();
        if let Some(job) = state.jobs.pop_front() {
            return Some(job);
        }
        let until = Instant::now().checked_add(idle_limit);
        state.idle += 1;
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = self.wait(state, left.unwrap_or(idle_limit));
            // Jobs first: one may have come together with the end of the wait.
            let job = state.jobs.pop_front();
            if job.is_none() && left != Some(Duration::ZERO) {
                continue;
            }
            state.idle -= 1;
            if job.is_none() {
                state.threads -= 1;
            }
            return job;
        }
    }

    /// Waits for a signal, at most as long as `limit`.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        let waited = self.job.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The state. Nothing panics while it is locked, so poison means nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;
