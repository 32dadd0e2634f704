//! Counts of calls.

use std::fmt;

/// Calls that greenlets made since the start, by function; from [`stats`](crate::stats).
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// One entry for each function that was called.
    pub(crate) calls: Vec<Calls>,
}

/// The calls of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// Its name, as in C.
    pub function: &'static str,
    /// Calls made inside greenlets; of functions that take a lock, those that found it taken.
    pub calls: u64,
    /// How often those calls parked: often 0, and more than once for a call that waits in steps.
    pub parks: u64,
}

impl Stats {
    /// The counts of `function`, zero if it was never called.
    pub fn of(&self, function: &str) -> Calls {
        let found = self.calls.iter().find(|calls| calls.function == function);
        found.copied().unwrap_or(Calls { function: "", calls: 0, parks: 0 })
    }

    /// Every function that was called.
    pub fn iter(&self) -> impl Iterator<Item = Calls> {
        self.calls.iter().copied()
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Calls { function, calls, parks } in self.iter() {
            writeln!(f, "{function:16} {calls:10} calls {parks:10} parks")?;
        }
        Ok(())
    }
}
