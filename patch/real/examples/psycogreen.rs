//! Diesel and r2d2 in greenlets: a driver in C (libpq) made green without its knowledge, as psycogreen did
//! it for psycopg2 and gevent.
//!
//! `cargo run --example psycogreen` in `patch/real`; the chapter is `docs/guide/psycogreen.md`.

#[path = "../../tests/support/servers.rs"]
mod servers;

use std::error::Error;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};

/// Connections; fewer than there are greenlets, which wait for their turn.
const CONNECTIONS: u32 = 10;
/// Greenlets, each of which moves one coin.
const TRANSFERS: i32 = 100;
/// Accounts.
const ACCOUNTS: i32 = 5;
/// How long the database takes for each.
const WORK: Duration = Duration::from_millis(50);

diesel::table! {
    accounts {
        id -> Integer,
        balance -> Integer,
    }
}

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    // SAFETY: Diesel, r2d2 and libpq are made for threads, which is what greenlets look like to them.
    let report = unsafe { sward::patch::all() };
    println!("{report}");
    // The database that the command line names, or one of our own.
    let (_server, url) = match std::env::args().nth(1) {
        Some(url) => (None, url),
        None => {
            let server = servers::Server::postgres("psycogreen");
            let url = format!("host={} port={} user=test dbname=postgres", server.file(""), server.port);
            (Some(server), url)
        }
    };
    let pool = Pool::builder().max_size(CONNECTIONS).build(ConnectionManager::<PgConnection>::new(url))?;
    open_accounts(&mut *pool.get()?)?;

    let start = Instant::now();
    let transfers: Vec<_> = (0..TRANSFERS)
        .map(|number| {
            let pool = pool.clone();
            sward::spawn(move || -> Result<(), Failure> {
                let mut connection = pool.get()?; // waits for its turn: here the greenlet parks
                transfer(&mut connection, number % ACCOUNTS, (number + 1) % ACCOUNTS)?; // and here, in libpq
                Ok(())
            })
        })
        .collect();
    for outcome in sward::join_all(transfers) {
        outcome??;
    }
    let (taken, total) = (start.elapsed(), total(&mut *pool.get()?)?);
    println!(
        "{TRANSFERS} transfers over {CONNECTIONS} connections: {taken:.0?}; one after the other: {:.0?} at least",
        WORK * TRANSFERS as u32
    );
    println!("{total} coins, as before: {}", total == i64::from(ACCOUNTS * 1000));
    print!("{}", sward::patch::stats());
    Ok(())
}

/// A table that goes with its connections' schema, with 1000 coins in each account.
fn open_accounts(connection: &mut PgConnection) -> QueryResult<()> {
    diesel::sql_query("create table accounts (id int primary key, balance int not null)").execute(connection)?;
    let rows: Vec<_> = (0..ACCOUNTS).map(|id| (accounts::id.eq(id), accounts::balance.eq(1000))).collect();
    diesel::insert_into(accounts::table).values(rows).execute(connection)?;
    Ok(())
}

/// Moves a coin, in a transaction that takes a while.
fn transfer(connection: &mut PgConnection, from: i32, to: i32) -> QueryResult<()> {
    connection.transaction(|connection| {
        diesel::sql_query(format!("select pg_sleep({})", WORK.as_secs_f64())).execute(connection)?;
        // In the order of the accounts, lest two wait for each other.
        let mut changes = [(from, -1), (to, 1)];
        changes.sort_unstable();
        for (id, change) in changes {
            let account = accounts::table.filter(accounts::id.eq(id));
            diesel::update(account).set(accounts::balance.eq(accounts::balance + change)).execute(connection)?;
        }
        Ok(())
    })
}

/// All coins.
fn total(connection: &mut PgConnection) -> QueryResult<i64> {
    let sum: Option<i64> = accounts::table.select(diesel::dsl::sum(accounts::balance)).first(connection)?;
    Ok(sum.unwrap_or_default())
}
