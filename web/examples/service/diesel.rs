//! A blocking driver, untouched: Diesel with libpq and a pool of r2d2, which know nothing of greenlets.
//!
//! Patched, libpq's `poll` and the pool's lock and condition park the greenlet that called them, not the thread.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool, PooledConnection};
use diesel::sql_types::Double;

use super::accounts::{Account, Failure};

/// How long a request may wait for a connection: as long as it takes.
const WAIT: Duration = Duration::from_secs(3600);

diesel::table! {
    accounts (id) {
        id -> Integer,
        title -> Text,
        done -> Bool,
        priority -> Integer,
    }
}

/// Connections to one database, shared by all hubs.
pub(crate) struct Database(Pool<ConnectionManager<PgConnection>>);

impl Database {
    /// Of at most `size` connections to the database at `url`. Patches the process.
    pub(crate) fn new(url: &str, size: usize) -> Result<Database, Failure> {
        // SAFETY: nothing here relies on a call of libc not running other greenlets of the thread.
        let report = unsafe { sward::patch::all() };
        if !report.blocking_calls() {
            return Err(format!("the driver diesel needs patching: {report}").into());
        }
        // The pool would try again for as long as a request may wait.
        PgConnection::establish(url)?;
        let size = u32::try_from(size)?;
        let pool = Pool::builder().max_size(size).min_idle(Some(0)).connection_timeout(WAIT);
        Ok(Database(pool.build(ConnectionManager::new(url))?))
    }

    /// A connection. Blocks the greenlet while all are in use.
    fn connection(&self) -> Result<PooledConnection<ConnectionManager<PgConnection>>, Failure> {
        Ok(self.0.get()?)
    }

    /// Runs a script.
    pub(crate) fn execute(&self, script: &str) -> Result<(), Failure> {
        Ok(self.connection()?.batch_execute(script)?)
    }

    /// All accounts. Blocks the greenlet.
    pub(crate) fn all(&self) -> Result<Vec<Account>, Failure> {
        select(&mut *self.connection()?)
    }

    /// All accounts, after sleeping in the database. Blocks the greenlet.
    pub(crate) fn sleep_then_all(&self, seconds: f64) -> Result<Vec<Account>, Failure> {
        let mut connection = self.connection()?;
        diesel::sql_query("SELECT pg_sleep($1)").bind::<Double, _>(seconds).execute(&mut connection)?;
        select(&mut connection)
    }
}

/// All accounts.
fn select(connection: &mut PgConnection) -> Result<Vec<Account>, Failure> {
    let rows = accounts::table.order(accounts::id).load::<(i32, String, bool, i32)>(connection)?;
    Ok(rows.into_iter().map(|(id, title, done, priority)| Account { id, title, done, priority }).collect())
}
