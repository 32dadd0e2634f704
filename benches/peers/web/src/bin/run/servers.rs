//! What is compared, and how it is started.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A server.
pub struct Server {
    /// As the tables name it.
    pub name: &'static str,
    /// In the plots.
    pub colour: &'static str,
    /// The server it is compared with, in the same round.
    pub rival: Option<&'static str>,
    /// The command; the address follows.
    command: Vec<String>,
    /// What follows the address.
    arguments: &'static [&'static str],
}

impl Server {
    /// The command that serves on `addr`, on the first core.
    pub fn command(&self, addr: &str) -> Command {
        let mut command = Command::new("taskset");
        command
            .args(["-c", "0"])
            .args(&self.command)
            .arg(addr)
            .args(self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// The folder of the programs that cargo has built.
pub fn programs() -> PathBuf {
    let this = std::env::current_exe().expect("a program knows where it is");
    this.parent().expect("a program is in a folder").to_owned()
}

/// The servers that this machine can run; says which it cannot.
pub fn all() -> Vec<Server> {
    let rust = |name, colour, rival, program: &str| Server {
        name,
        colour,
        rival,
        command: vec![programs().join(program).display().to_string()],
        arguments: &[],
    };
    let mut servers = vec![
        rust("epoll loop by hand", "#777777", None, "hello_epoll"),
        rust("hyper on tokio", "#1f5fbf", None, "hello_hyper"),
        Server {
            arguments: &["limits"],
            ..rust("hyper on tokio, heads limited in time", "#13396f", Some("hyper on tokio"), "hello_hyper")
        },
        rust("sward, a closure", "#c8102e", Some("hyper on tokio"), "hello_sward"),
        rust("axum on tokio", "#5aa5e8", None, "hello_axum"),
        rust("axum on sward", "#f28e2b", Some("axum on tokio"), "hello_sward_axum"),
    ];
    match go() {
        Ok(program) => servers.push(Server {
            name: "Go net/http",
            colour: "#2a9d6f",
            rival: None,
            command: vec![program],
            arguments: &[],
        }),
        Err(reason) => eprintln!("left out: Go net/http ({reason})"),
    }
    let python = std::env::var("PYTHON").unwrap_or("python3".into());
    match succeeds(Command::new(&python).args(["-c", "import gevent.pywsgi"])) {
        Ok(()) => servers.push(Server {
            name: "gevent.pywsgi",
            colour: "#8a4fbf",
            rival: None,
            command: vec![python, "hello_gevent.py".into()],
            arguments: &[],
        }),
        Err(reason) => eprintln!("left out: gevent.pywsgi ({python} -c 'import gevent.pywsgi': {reason})"),
    }
    servers
}

/// Builds the program in Go.
fn go() -> Result<String, String> {
    let program = programs().join("hello_go").display().to_string();
    succeeds(Command::new("go").env("GO111MODULE", "off").args(["build", "-o", &program, "go/main.go"]))?;
    Ok(program)
}

/// Runs a command to its end.
fn succeeds(command: &mut Command) -> Result<(), String> {
    match command.stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
