//! A thousand blocking requests share a hundred connections to a PostgreSQL that the test starts. Behind the feature
//! `real`, since PostgreSQL must be installed.

#[path = "support/database.rs"]
mod database;
#[path = "support/service.rs"]
mod service;
mod support;

use std::cell::Cell;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use database::Database;
use service::web_service::postgres::Pool;
use service::{Service, serve_if_asked};
use support::{ms, read_answer, watched_for};

/// Requests at once.
const REQUESTS: usize = 1000;
/// Connections to the database.
const POOL: usize = 100;

/// How many others are connected, by what the database says.
const CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                           AND pid <> pg_backend_pid()";

#[test]
fn a_thousand_requests_share_a_pool_of_connections() {
    if serve_if_asked() {
        return;
    }
    watched_for(Duration::from_secs(180), || {
        // One more for the test itself: another one of the service would be refused, and its request fail.
        let database = Database::start(POOL + 1)?;
        crowd(&database.url, "tokio-postgres")?;
        #[cfg(feature = "diesel")]
        crowd(&database.url, "diesel")?;
        few(&database.local_url)
    });
}

/// All at once, while the database is asked who is connected.
fn crowd(url: &str, driver: &str) -> io::Result<()> {
    let pool = POOL.to_string();
    let arguments = ["--postgres", url, "--driver", driver, "--pool", &pool, "--create-data"];
    let service = Service::on_tcp("a_thousand_requests_share_a_pool_of_connections", &arguments)?;
    let watcher = Pool::new(url, 1).map_err(io::Error::other)?;
    let connected = || {
        let row = watcher.with(|client| sward::block_on(client.query_one(CONNECTIONS, &[]))).unwrap();
        row.get::<_, i64>(0)
    };
    let (done, most) = (Cell::new(false), Cell::new(0));
    let begun = Instant::now();
    sward::scope(|s| {
        let watching = s.spawn(|| {
            while !done.get() {
                most.set(most.get().max(connected()));
                sward::sleep(ms(50));
            }
        });
        let requests: Vec<_> = (0..REQUESTS)
            .map(|_| {
                s.spawn(|| {
                    let mut stream = service.connect().unwrap();
                    stream.write_all(b"GET /sleep/postgres/?s=1 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
                    let answer = read_answer(&mut stream).unwrap();
                    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                    assert_eq!(answer.matches("USER_NAME_").count(), 50, "{answer}");
                })
            })
            .collect();
        requests.into_iter().for_each(|request| request.join().unwrap());
        let took = begun.elapsed();
        // Ten rounds of a second: never sooner, and not nearly one after the other.
        let rounds = Duration::from_secs((REQUESTS / POOL) as u64);
        println!("{driver}: {REQUESTS} requests of a second through {POOL} connections took {took:?}");
        assert!(took >= rounds && took < rounds * 3, "{took:?}");
        done.set(true);
        watching.join().unwrap();
    });
    assert_eq!(most.get(), POOL as i64, "connections at the same time");
    assert!(service.stop()?.0.success());
    while connected() > 0 {
        sward::sleep(ms(10)); // the next service finds room
    }
    Ok(())
}

/// Over PostgreSQL's Unix socket, by default as many connections as the help says; the data is still there.
fn few(url: &str) -> io::Result<()> {
    let test = "a_thousand_requests_share_a_pool_of_connections";
    let service = Service::on_tcp(test, &["--postgres", url, "--threads", "2"])?;
    sward::scope(|s| {
        for _ in 0..100 {
            s.spawn(|| {
                let mut stream = service.connect().unwrap();
                stream.write_all(b"GET /sleep/postgres/?s=0.01 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
                assert_eq!(read_answer(&mut stream).unwrap().matches("USER_NAME_").count(), 50);
            });
        }
    });
    assert!(service.stop()?.0.success());
    Ok(())
}
