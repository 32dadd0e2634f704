//! A PostgreSQL that a test starts for itself.

#![allow(unreachable_pub)] // it is a part of a test

use std::fs;
use std::io;
use std::path::PathBuf;

use sward::process::{Child, Command, Stdio};

use super::support::ms;

/// A PostgreSQL in a temporary folder; gone when dropped.
pub struct Database {
    folder: PathBuf,
    server: Child,
    /// How to reach it over TCP.
    pub url: String,
    /// How to reach it over its Unix socket.
    pub local_url: String,
}

impl Database {
    /// Starts one that takes `connections`, and waits until it answers.
    pub fn start(connections: usize) -> io::Result<Database> {
        let folder = std::env::temp_dir().join(format!("sward-web-postgres-{}", std::process::id()));
        fs::create_dir(&folder)?;
        // PostgreSQL refuses to run as root.
        let root = Command::new("id").arg("-u").output()?.stdout == b"0\n";
        if root {
            Command::new("chown").arg("nobody").arg(&folder).status()?;
        }
        let programs = programs()?;
        let program = |name: &str| {
            let path = programs.join(name);
            let mut command = Command::new(if root { "setpriv".into() } else { path.clone() });
            if root {
                command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(path);
            }
            command.current_dir(&folder);
            command
        };
        let data = folder.join("data");
        let made = program("initdb").arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-N"]).output()?;
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = program("postgres");
        server.stdout(Stdio::null()).stderr(Stdio::null());
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", &format!("unix_socket_directories={}", folder.display())]);
        server.args(["-c", &format!("max_connections={connections}"), "-c", "fsync=off"]);
        let url = |host: &str| format!("host={host} port={port} user=postgres dbname=postgres");
        let (tcp, local) = (url("127.0.0.1"), url(&folder.display().to_string()));
        let mut database = Database { server: server.spawn()?, folder, url: tcp, local_url: local };
        while !database.is_ready(port)? {
            sward::sleep(ms(50));
        }
        Ok(database)
    }

    /// Whether it says, in its folder, that it takes connections.
    fn is_ready(&mut self, port: u16) -> io::Result<bool> {
        if let Some(status) = self.server.try_wait()? {
            return Err(io::Error::other(format!("postgres on port {port}: {status}")));
        }
        let told = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
        Ok(told.lines().any(|line| line.trim_end() == "ready"))
    }
}

/// Where Debian has the programs, or else the folder of `PATH` that has them.
fn programs() -> io::Result<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.filter_map(|version| Some(version.ok()?.path().join("bin"))));
    }
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let found = folders.into_iter().find(|folder| folder.join("initdb").is_file());
    found.ok_or_else(|| io::Error::other("initdb is missing (Debian: apt-get install postgresql)"))
}

impl Drop for Database {
    fn drop(&mut self) {
        _ = self.server.kill();
        _ = self.server.wait();
        _ = fs::remove_dir_all(&self.folder);
    }
}
