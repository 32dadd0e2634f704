//! What a greenlet is called in reports, and the deadlock report.

use std::fmt::{self, Write};
use std::io::{self, Write as _};
use std::panic::Location;

use crate::scheduler::Hub;
use crate::slot::{Slot, State};

/// Parked greenlets listed in a deadlock report; the rest are counted.
const LISTED: usize = 1000;

/// A greenlet's id, name and spawn site, for messages.
pub(crate) struct Description(&'static Slot);

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_root() {
            return f.write_str("0 \"root\"");
        }
        write!(f, "{}", self.0.id.get())?;
        if let Some(name) = self.0.name.borrow().as_deref() {
            write!(f, " \"{name}\"")?;
        }
        let site = self.0.spawned_at.get();
        write!(f, " (spawned at {}:{})", site.file(), site.line())
    }
}

/// Writes a line of ours to stderr. Not `eprintln`, which panics when nobody reads it any more.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("sward: {text}\n").as_bytes());
}

/// The line for a panic that nobody can see any more: its greenlet's handle is gone.
#[cold]
pub(crate) fn unseen_panic(id: u64, name: Option<&str>, site: &Location<'_>) {
    let name = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
    line(format_args!("greenlet {id}{name} (spawned at {site}) panicked and nobody joined it"));
}

impl Hub {
    /// How to call a greenlet in a message.
    pub(crate) fn describe(&self, slot: &'static Slot) -> Description {
        Description(slot)
    }

    /// The root waits for what can never come. Other greenlets stay parked, the hub stays usable.
    #[cold]
    pub(crate) fn panic_with_deadlock(&'static self, root: &'static Slot) -> ! {
        root.epoch.set(root.epoch.get().wrapping_add(1));
        let mut report = format!(
            "deadlock: the root waits in {} and nothing can ever wake it: no greenlet is ready, and there is no timer, \
             registered file descriptor, offloaded job or handle",
            root.waits_for.get()
        );
        let parked = || self.table.iter().filter(|slot| !slot.is_root() && slot.state.get() == State::Parked);
        for slot in parked().take(LISTED) {
            let _ = write!(report, "\n  greenlet {} waits in {}", self.describe(slot), slot.waits_for.get());
        }
        let rest = parked().count().saturating_sub(LISTED);
        if rest > 0 {
            let _ = write!(report, "\n  and {rest} more");
        }
        panic!("{report}");
    }
}
