//! A thousand blocking requests share the connections to a PostgreSQL that the test starts. Skipped where
//! `initdb` and `postgres` are not in `PATH` (Debian has them elsewhere, so `./test` does not require them).

mod support;

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use support::{ms, read_answer, start, watched};
use sward::process::{Child, Command, Stdio};
use sward::web::Response;

#[path = "../examples/service/accounts.rs"]
#[allow(dead_code)] // the test needs no SQLite
mod accounts;
#[path = "../examples/service/postgres.rs"]
mod postgres;

/// Requests at once.
const REQUESTS: usize = 300;
/// Connections to the database.
const POOL: usize = 30;

/// A PostgreSQL in a temporary folder.
struct Database {
    folder: PathBuf,
    server: Child,
    port: u16,
}

impl Database {
    /// None if the programs are missing.
    fn start() -> std::io::Result<Option<Database>> {
        let folder = std::env::temp_dir().join(format!("sward-web-postgres-{}", std::process::id()));
        fs::create_dir(&folder)?;
        // PostgreSQL refuses to run as root.
        let root = Command::new("id").arg("-u").output()?.stdout == b"0\n";
        let program = |name: &str| {
            let mut command = Command::new(if root { "setpriv" } else { name });
            if root {
                command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", name]);
            }
            command.current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        if root {
            Command::new("chown").arg("nobody").arg(&folder).status()?;
        }
        let data = folder.join("data");
        let made = program("initdb").arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-N"]).status();
        if !made.is_ok_and(|status| status.success()) {
            fs::remove_dir_all(&folder)?;
            return Ok(None);
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = program("postgres");
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", &format!("unix_socket_directories={}", folder.display())]);
        Ok(Some(Database { server: server.spawn()?, folder, port }))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        _ = self.server.kill();
        _ = self.server.wait();
        _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn requests_share_a_pool_of_connections() {
    watched(|| {
        let Some(database) = Database::start()? else {
            eprintln!("skipped: initdb is missing");
            return Ok(());
        };
        let url = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", database.port);
        let accounts = accounts::Accounts::in_postgres(&url, POOL).unwrap();
        while let Err(error) = accounts.create() {
            eprintln!("not yet: {error}");
            sward::sleep(ms(100)); // it starts
        }
        let (asleep, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let server = start({
            let (accounts, asleep, most) = (accounts.clone(), asleep.clone(), most.clone());
            move |_| {
                asleep.set(asleep.get() + 1);
                most.set(asleep.get().max(most.get()));
                let rows = accounts.sleep_then_all(0.1).unwrap();
                asleep.set(asleep.get() - 1);
                rows.map(|rows| Response::new(format!("{} {}", rows.len(), rows[49].title)))
            }
        })?;
        let begun = std::time::Instant::now();
        sward::scope(|s| {
            for _ in 0..REQUESTS {
                s.spawn(|| {
                    let mut stream = server.connect().unwrap();
                    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
                    assert!(read_answer(&mut stream).unwrap().ends_with("\r\n\r\n50 USER_NAME_49"));
                });
            }
        });
        let ideal = Duration::from_millis(100) * (REQUESTS / POOL) as u32;
        assert!(begun.elapsed() >= ideal, "more than {POOL} connections: {:?}", begun.elapsed());
        assert_eq!(most.get(), REQUESTS, "all were in flight at once");
        server.stop()?;
        drop(database);
        Ok(())
    });
}
