//! The crate `redis`, which blocks in std's sockets, against a Redis that the test starts.

#[path = "../../tests/support/proof.rs"]
mod proof;
#[path = "../../tests/support/servers.rs"]
mod servers;
#[path = "../../tests/support/mod.rs"]
mod support;

use proof::proves;
use redis::{Client, Connection, RedisResult};
use servers::Server;
use support::{ms, patched, takes};

/// A list's name, and what was in it.
type Found = (String, usize);

/// A wait that ends in vain, and one that does not.
fn work(number: usize, mut connection: Connection) -> (RedisResult<Option<Found>>, Found) {
    let wait = |connection: &mut Connection, key: &str, limit: f64| {
        redis::cmd("BLPOP").arg(key).arg(limit).query::<Option<Found>>(connection)
    };
    let nothing = wait(&mut connection, "nothing", 0.2);
    // The threads have taken what they have put.
    let key = format!("list {number}");
    redis::cmd("RPUSH").arg(&key).arg(number).exec(&mut connection).unwrap();
    (nothing, wait(&mut connection, &key, 5.0).unwrap().unwrap())
}

#[test]
fn fifty_waits_of_redis_take_as_long_as_one() {
    patched("fifty_waits_of_redis_take_as_long_as_one", || {
        let server = Server::redis("redis");
        let urls = [format!("redis://127.0.0.1:{}/", server.port), format!("unix://{}", server.file("redis.sock"))];
        for url in &urls {
            let client = Client::open(url.as_str()).unwrap();
            let open = move |_| client.get_connection().unwrap();
            proves(if url.starts_with("unix") { "redis over a Unix socket" } else { "redis over TCP" }, 50, open, work);
        }
    });
}

#[test]
fn a_value_wakes_who_waits_and_a_kill_too() {
    patched("a_value_wakes_who_waits_and_a_kill_too", || {
        let server = Server::redis("redis-wake");
        let client = Client::open(format!("redis://127.0.0.1:{}/", server.port)).unwrap();
        let mut connection = client.get_connection().unwrap();
        let waiters: Vec<_> = (0..50)
            .map(|number| {
                let mut connection = client.get_connection().unwrap();
                sward::spawn(move || {
                    let key = format!("list {number}");
                    redis::cmd("BLPOP").arg(&key).arg(20).query::<Found>(&mut connection).unwrap()
                })
            })
            .collect();
        let pusher = sward::spawn(move || {
            sward::sleep(ms(200));
            for number in (0..50).rev() {
                redis::cmd("RPUSH").arg(format!("list {number}")).arg(number).exec(&mut connection).unwrap();
            }
        });
        takes(ms(190), ms(2000), || {
            for (number, found) in sward::join_all(waiters).into_iter().enumerate() {
                assert_eq!(found.unwrap(), (format!("list {number}"), number));
            }
        });
        pusher.join().unwrap();

        let g = sward::spawn(move || {
            let mut connection = client.get_connection().unwrap();
            let error = redis::cmd("BLPOP").arg("nothing").arg(20).query::<Found>(&mut connection);
            assert!(error.unwrap_err().is_io_error());
            drop(connection);
            sward::yield_now();
        });
        sward::sleep(ms(50));
        g.kill();
        takes(ms(0), ms(2000), || assert!(g.join().unwrap_err().is_killed()));
    });
}
