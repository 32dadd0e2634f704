//! What `all` did, what it did not, and why.

use std::fmt;

/// What [`all`](crate::all) did. Its `Display` is meant to be printed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The hooked functions.
    pub(crate) functions: Vec<&'static str>,
    /// Functions that have none.
    pub(crate) missing: Vec<Missing>,
    /// Whether greenlets have thread-locals of their own, and if not, why.
    pub(crate) identity: Result<(), &'static str>,
    /// The loaded objects.
    pub(crate) objects: Vec<Object>,
    /// Whether greenlets park in locks.
    pub(crate) locks: bool,
}

/// A function without a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// Its name, as in C.
    pub function: &'static str,
    /// Why it has none in this program.
    pub why: &'static str,
}

/// A loaded object: the program, or a shared library.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Object {
    /// Its file, or "the program".
    pub name: String,
    /// Whether its calls reach the hooks.
    pub coverage: Coverage,
}

/// Whether an object's calls reach the hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coverage {
    /// Yes, by symbol resolution.
    Resolved,
    /// Yes, since `all` rewrote where these functions lead.
    Repaired(Vec<&'static str>),
    /// No, or not all of them, and why.
    NotReached(String),
}

impl Report {
    /// The functions that have a hook now.
    pub fn functions(&self) -> &[&'static str] {
        &self.functions
    }

    /// Functions that would have a hook, but have none in this program, and why.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// The program and the shared libraries that were loaded when `all` was called. A library that
    /// is loaded later is covered too, unless by `RTLD_DEEPBIND`: then call `all` again.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Whether blocking calls park their greenlet at all.
    pub fn blocking_calls(&self) -> bool {
        !self.functions.is_empty()
    }

    /// Whether each greenlet that is spawned from now on has thread-locals of its own.
    pub fn thread_identity(&self) -> bool {
        self.identity.is_ok()
    }

    /// Whether locks, condition variables and channels made for threads (`std::sync`,
    /// `pthread_mutex_lock` …) park a greenlet. If not, they block the thread: without thread-locals of
    /// its own, a greenlet that waits in one finds another's state there.
    pub fn locks(&self) -> bool {
        self.locks
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |on| if on { "on" } else { "off" };
        match self.identity {
            Err(why) if !self.blocking_calls() => return writeln!(f, "nothing is patched: {why}"),
            _ => writeln!(f, "blocking calls park: on ({} functions)", self.functions.len())?,
        }
        match self.identity {
            Ok(()) => writeln!(f, "thread-locals per greenlet: on")?,
            Err(why) => writeln!(f, "thread-locals per greenlet: off: {why}")?,
        }
        writeln!(f, "locks of std and pthread park: {}", on(self.locks()))?;
        for missing in self.missing.chunk_by(|one, next| one.why == next.why) {
            let functions: Vec<_> = missing.iter().map(|missing| missing.function).collect();
            writeln!(f, "without a hook: {}: {}", functions.join(", "), missing[0].why)?;
        }
        for Object { name, coverage } in &self.objects {
            match coverage {
                Coverage::Resolved => writeln!(f, "{name}: covered")?,
                Coverage::Repaired(functions) => {
                    writeln!(f, "{name}: covered, after repair of {}", functions.join(", "))?
                }
                Coverage::NotReached(why) => writeln!(f, "{name}: NOT covered: {why}")?,
            }
        }
        Ok(())
    }
}
