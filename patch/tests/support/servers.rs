//! Servers of a test's own: in temporary folders, on free ports of loopback, gone when dropped.
#![allow(dead_code, reason = "each test file uses a part")]

use std::ffi::c_int;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A server that runs.
pub(crate) struct Server {
    /// Its data, and its Unix socket.
    pub(crate) folder: PathBuf,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    /// What ends it in order, but soon.
    signal: c_int,
    child: Child,
}

impl Server {
    /// Starts Redis; its Unix socket is `redis.sock`.
    pub(crate) fn redis(name: &str) -> Server {
        let (folder, port) = (folder(name), free_port());
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"]).arg(&folder);
        command.arg("--unixsocket").arg(folder.join("redis.sock"));
        Server::start(folder, port, libc::SIGTERM, "Ready to accept connections", command)
    }

    /// Starts MariaDB, which lets everybody in; its Unix socket is `mariadb.sock`.
    pub(crate) fn mariadb(name: &str) -> Server {
        let (folder, port) = (folder(name), free_port());
        let data = folder.join("data");
        let mut install = Command::new("mariadb-install-db");
        // Its arguments are no arguments without "=".
        install.args(["--no-defaults", "--user=mysql", "--skip-test-db", "--skip-name-resolve"]);
        install.arg(format!("--datadir={}", data.display()));
        assert!(output_is_good(&mut install), "{install:?}");
        let mut command = Command::new("mariadbd");
        command.args(["--no-defaults", "--user=mysql", "--skip-grant-tables", "--bind-address=127.0.0.1"]);
        command.arg("--innodb-flush-log-at-trx-commit=0").arg("--datadir").arg(&data);
        command.arg("--socket").arg(folder.join("mariadb.sock")).arg("--pid-file").arg(folder.join("pid"));
        command.arg(format!("--port={port}"));
        Server::start(folder, port, libc::SIGKILL, "ready for connections", command)
    }

    /// Starts PostgreSQL, which lets everybody in, also by TLS; its Unix socket is in the folder. Its user is
    /// "test", its database "postgres".
    pub(crate) fn postgres(name: &str) -> Server {
        let (folder, port) = (folder(name), free_port());
        let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
        let programs = versions.into_iter().next().unwrap().unwrap().path().join("bin");
        let data = folder.join("data");
        let mut init = as_postgres(&programs.join("initdb"));
        init.args(["--auth=trust", "--username=test", "--no-sync", "-D"]).arg(&data);
        assert!(output_is_good(&mut init), "{init:?}");
        let mut openssl = as_postgres(Path::new("openssl"));
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days"]);
        openssl.args(["9", "-subj", "/CN=localhost", "-keyout"]).arg(data.join("server.key"));
        openssl.arg("-out").arg(data.join("server.crt"));
        assert!(output_is_good(&mut openssl), "{openssl:?}");
        let mut command = as_postgres(&programs.join("postgres"));
        command.args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-c",
            "ssl=on",
            "-c",
            "max_connections=250",
        ]);
        command.args(["-p", &port.to_string(), "-k"]).arg(&folder).arg("-D").arg(&data);
        // SIGINT: stop at once, and clean up.
        Server::start(folder, port, libc::SIGINT, "system is ready to accept connections", command)
    }

    /// Where `path` is for clients.
    pub(crate) fn file(&self, path: &str) -> String {
        self.folder.join(path).to_str().unwrap().to_owned()
    }

    /// Starts `command` and waits until it has logged that it is ready.
    fn start(folder: PathBuf, port: u16, signal: c_int, ready: &str, mut command: Command) -> Server {
        let path = folder.join("log");
        let log = fs::File::create(&path).unwrap();
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Server { folder, port, signal, child };
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let log = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            if log.contains(ready) {
                return server;
            }
            assert!(Instant::now() < end && server.child.try_wait().unwrap().is_none(), "{command:?}:\n{log}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: our own child, which is not waited for yet.
        unsafe { libc::kill(self.child.id() as c_int, self.signal) };
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A new folder that any user may write to.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sward-{name}-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

/// Runs it to its end, silently unless it fails.
fn output_is_good(command: &mut Command) -> bool {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if !output.status.success() {
        eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}
