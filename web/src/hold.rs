//! How a server counts its connections, and ends them.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use sward_net::Holder;
use sward_runtime::GreenletId;

use crate::connection::Connection;
use crate::shared::Shared;

/// What the server knows of a connection, and of what it leaves behind.
pub(crate) struct Hold {
    /// The connection.
    pub(crate) connection: Weak<Connection>,
    /// What its requests know.
    pub(crate) shared: Rc<Shared>,
}

impl Holder for Hold {
    fn kill(&self) {
        self.shared.kill_greenlets();
        match self.connection.upgrade() {
            Some(connection) => connection.kill(),
            None => self.shared.give_permit_up(),
        }
    }

    fn runs_in(&self, greenlet: GreenletId) -> bool {
        self.shared.runs_in(greenlet) || self.connection.upgrade().is_some_and(|c| c.is_polled_in(greenlet))
    }
}

/// Tells when a connection has ended.
pub(crate) struct Ends {
    /// Whose server is told.
    pub(crate) shared: Rc<Shared>,
    /// Whether it was to end at once.
    pub(crate) killed: Cell<bool>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        if self.killed.get() {
            self.shared.give_permit_up();
        } else {
            self.shared.end();
        }
    }
}
