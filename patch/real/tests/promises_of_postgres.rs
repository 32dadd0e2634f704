//! Diesel on libpq, with and without r2d2, and the crate `postgres`, which has tokio inside, against a
//! PostgreSQL that the test starts.

#[path = "../../tests/support/proof.rs"]
mod proof;
#[path = "../../tests/support/servers.rs"]
mod servers;
#[path = "../../tests/support/mod.rs"]
mod support;

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool, PooledConnection};
use diesel::sql_types::Integer;
use postgres::{Client, NoTls};
use proof::proves;
use servers::Server;
use support::{ms, patched, takes};

/// A row.
#[derive(QueryableByName, Debug, PartialEq)]
struct Row {
    #[diesel(sql_type = Integer)]
    number: i32,
}

/// How clients find the server, over TCP and over its Unix socket.
fn urls(server: &Server) -> [(&'static str, String); 2] {
    let (port, folder) = (server.port, server.file(""));
    [
        ("TCP", format!("host=127.0.0.1 port={port} user=test dbname=postgres sslmode=disable")),
        ("a Unix socket", format!("host={folder} port={port} user=test dbname=postgres")),
    ]
}

/// A query that waits, one that answers at once, an error, and a transaction.
fn diesel_work(number: usize, connection: &mut PgConnection) -> (Vec<Row>, Vec<Row>, String) {
    let waits = diesel::sql_query(format!("select {number} as number from pg_sleep(0.2)"));
    let many = diesel::sql_query("select * from generate_series(1, 100) as number");
    let waited = connection.transaction(|connection| waits.load(connection)).unwrap();
    let error = diesel::sql_query("select 1/0").execute(connection).unwrap_err();
    (waited, many.load(connection).unwrap(), error.to_string())
}

#[test]
fn fifty_queries_of_diesel_take_as_long_as_one() {
    patched("fifty_queries_of_diesel_take_as_long_as_one", || {
        let server = Server::postgres("diesel");
        for (how, url) in urls(&server) {
            let open = move |_| PgConnection::establish(&url).unwrap();
            let work = |number, mut connection: PgConnection| diesel_work(number, &mut connection);
            proves(&format!("diesel over {how}"), 50, open, work);
        }
    });
}

/// A pool of connections, all of them open.
fn pool(url: &str, size: u32) -> Pool<ConnectionManager<PgConnection>> {
    Pool::builder().max_size(size).build(ConnectionManager::new(url)).unwrap()
}

#[test]
fn fifty_queries_of_diesel_from_a_pool_take_as_long_as_one() {
    patched("fifty_queries_of_diesel_from_a_pool_take_as_long_as_one", || {
        let server = Server::postgres("r2d2");
        let pool = pool(&urls(&server)[0].1, 50);
        let work = move |number, ()| {
            let mut connection: PooledConnection<_> = pool.get().unwrap();
            diesel_work(number, &mut connection)
        };
        proves("r2d2 and diesel", 50, |_| (), work);
    });
}

#[test]
fn greenlets_wait_for_their_turn_with_a_pool() {
    patched("greenlets_wait_for_their_turn_with_a_pool", || {
        let server = Server::postgres("r2d2-turns");
        let pool = pool(&urls(&server)[0].1, 20);
        // Five turns of 200 ms each: a second, and not twenty.
        let work = move |number, ()| diesel_work(number, &mut pool.get().unwrap());
        proves("r2d2 and diesel, 20 connections", 100, |_| (), work);
    });
}

#[test]
fn fifty_queries_of_the_crate_postgres_take_as_long_as_one() {
    patched("fifty_queries_of_the_crate_postgres_take_as_long_as_one", || {
        let server = Server::postgres("postgres");
        for (how, url) in urls(&server) {
            let open = move |_| Client::connect(&url, NoTls).unwrap();
            let work = |number, mut client: Client| {
                let row = client.query_one("select $1::int from pg_sleep(0.2)", &[&(number as i32)]).unwrap();
                let many = client.query("select generate_series(1, 100)", &[]).unwrap();
                let error = client.simple_query("select 1/0").unwrap_err();
                (row.get::<_, i32>(0), many.len(), error.to_string())
            };
            proves(&format!("postgres over {how}"), 50, open, work);
        }
    });
}

#[test]
fn a_kill_inside_diesel_ends_the_query_and_the_greenlet() {
    patched("a_kill_inside_diesel_ends_the_query_and_the_greenlet", || {
        let server = Server::postgres("diesel-kill");
        let [(_, url), _] = urls(&server);
        let g = sward::spawn(move || {
            let mut connection = PgConnection::establish(&url).unwrap();
            assert!(diesel::sql_query("select pg_sleep(20)").execute(&mut connection).is_err());
            drop(connection);
            sward::yield_now();
        });
        sward::sleep(ms(200));
        g.kill();
        takes(ms(0), ms(2000), || assert!(g.join().unwrap_err().is_killed()));
    });
}
