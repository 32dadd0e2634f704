//! The accounts, in an embedded SQLite or in PostgreSQL.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio_postgres::Client;

#[cfg(feature = "diesel")]
use super::diesel::Database;
use super::postgres::Pool;

/// Rows that `create` makes.
const ROWS: i32 = 50;

/// All of them.
const SELECT: &str = "SELECT id, title, done, priority FROM accounts ORDER BY id";

/// Any error of a database.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// One account.
pub(crate) struct Account {
    pub(crate) id: i32,
    pub(crate) title: String,
    pub(crate) done: bool,
    pub(crate) priority: i32,
}

/// Where the accounts are.
#[derive(Clone)]
pub(crate) enum Accounts {
    /// A C library that blocks: it is called on a pool of OS threads.
    Sqlite(Arc<Mutex<Connection>>),
    /// An asynchronous driver over green sockets.
    Postgres(Arc<Pool>),
    /// A blocking driver over patched sockets.
    #[cfg(feature = "diesel")]
    Diesel(Arc<Database>),
}

impl Accounts {
    /// In a database in memory.
    pub(crate) fn in_sqlite() -> Result<Accounts, Failure> {
        Ok(Accounts::Sqlite(Arc::new(Mutex::new(Connection::open_in_memory()?))))
    }

    /// In PostgreSQL, through at most `size` connections.
    pub(crate) fn in_postgres(url: &str, size: usize) -> Result<Accounts, Failure> {
        Ok(Accounts::Postgres(Arc::new(Pool::new(url, size)?)))
    }

    /// In PostgreSQL, through at most `size` connections of libpq.
    #[cfg(feature = "diesel")]
    pub(crate) fn in_diesel(url: &str, size: usize) -> Result<Accounts, Failure> {
        Ok(Accounts::Diesel(Arc::new(Database::new(url, size)?)))
    }

    /// Makes the table and its rows.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        const TABLE: &str = "
            DROP TABLE IF EXISTS accounts;
            CREATE TABLE accounts (id INTEGER PRIMARY KEY, title TEXT NOT NULL, done BOOLEAN NOT NULL,
                                   priority INTEGER NOT NULL);";
        let row = |n| {
            let id = n + 1;
            format!("INSERT INTO accounts VALUES ({id}, 'USER_NAME_{n}', {}, {});", n % 2 == 0, n % 5)
        };
        let script: String = std::iter::once(TABLE.to_owned()).chain((0..ROWS).map(row)).collect();
        match self {
            Accounts::Sqlite(connection) => in_sqlite(connection, move |sqlite| sqlite.execute_batch(&script)),
            Accounts::Postgres(pool) => pool.with(|client| sward::block_on(client.batch_execute(&script))),
            #[cfg(feature = "diesel")]
            Accounts::Diesel(database) => database.execute(&script),
        }
    }

    /// All of them. Blocks the greenlet.
    pub(crate) fn all(&self) -> Result<Vec<Account>, Failure> {
        match self {
            Accounts::Sqlite(connection) => in_sqlite(connection, |sqlite| {
                let mut statement = sqlite.prepare_cached(SELECT)?;
                let rows = statement.query_map((), |row| {
                    Ok(Account { id: row.get(0)?, title: row.get(1)?, done: row.get(2)?, priority: row.get(3)? })
                })?;
                rows.collect()
            }),
            Accounts::Postgres(pool) => pool.with(select),
            #[cfg(feature = "diesel")]
            Accounts::Diesel(database) => database.all(),
        }
    }

    /// All of them, after sleeping in the database; none if that cannot sleep. Blocks the greenlet.
    pub(crate) fn sleep_then_all(&self, seconds: f64) -> Option<Result<Vec<Account>, Failure>> {
        match self {
            Accounts::Sqlite(_) => None,
            // On one connection: whoever gives it back in between queues up a second time.
            Accounts::Postgres(pool) => Some(pool.with(|client| {
                sward::block_on(client.execute("SELECT pg_sleep($1)", &[&seconds]))?;
                select(client)
            })),
            #[cfg(feature = "diesel")]
            Accounts::Diesel(database) => Some(database.sleep_then_all(seconds)),
        }
    }
}

/// All accounts in PostgreSQL.
fn select(client: &Client) -> Result<Vec<Account>, tokio_postgres::Error> {
    let rows = sward::block_on(client.query(SELECT, &[]))?;
    let account = |row: &tokio_postgres::Row| {
        Ok(Account { id: row.try_get(0)?, title: row.try_get(1)?, done: row.try_get(2)?, priority: row.try_get(3)? })
    };
    rows.iter().map(account).collect()
}

/// Calls SQLite where it stops nobody.
fn in_sqlite<T: Send + 'static>(
    connection: &Arc<Mutex<Connection>>,
    f: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let connection = connection.clone();
    Ok(sward::offload(move || f(&mut connection.lock().unwrap_or_else(PoisonError::into_inner)))?)
}
