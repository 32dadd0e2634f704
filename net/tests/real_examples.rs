//! The examples of this crate at work against programs that nobody here wrote. Behind the feature `real`. The examples
//! must have been built with the same profile: `cargo build --examples --all-features`, which `./test` does.

mod support;

use std::io::{self, BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::watched;

/// An example's program.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().with_file_name("examples").join(name);
    assert!(program.exists(), "{} is missing: cargo build --examples --all-features", program.display());
    Command::new(program)
}

/// Runs a program to its end with this on its stdin; its stdout. It must end well.
fn run(command: &mut Command, input: &[u8]) -> io::Result<String> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    writing.join().unwrap()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program that goes on, and what it says; killed when dropped.
struct Running {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn new(command: &mut Command) -> io::Result<Running> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        Ok(Running { child, says })
    }

    /// A server, and where it listens: the first word of its first line that is an address.
    fn server(name: &str, arguments: &[&str]) -> io::Result<(Running, String)> {
        let mut server = Running::new(example(name).args(["--addr", "127.0.0.1:0"]).args(arguments))?;
        let line = server.line()?;
        let addr = line.split(' ').find(|word| word.starts_with("127.0.0.1:"));
        let addr = addr.unwrap_or_else(|| panic!("{name} says {line:?}")).to_owned();
        Ok((server, addr))
    }

    fn line(&mut self) -> io::Result<String> {
        self.says.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
    }

    fn type_in(&mut self, text: &str) -> io::Result<()> {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes())
    }

    /// Ends it as an operator does; it must end well.
    fn terminate(mut self) -> io::Result<Vec<String>> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let rest = self.says.by_ref().collect::<io::Result<_>>()?;
        assert!(self.child.wait()?.success());
        Ok(rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nc, connected there.
fn nc(addr: &str) -> Command {
    let (host, port) = addr.split_once(':').unwrap();
    let mut nc = Command::new("nc");
    nc.args(["-N", host, port]);
    nc
}

#[test]
fn all_of_them_tell_what_they_are_for() {
    watched(|| {
        for name in ["11_echo", "12_forwarder", "13_chat", "14_datagrams", "15_pipeline", "16_resolve", "17_tls_echo"] {
            let help = run(example(name).arg("--help"), b"")?;
            assert!(help.contains(&format!("Usage: {name}")) && help.contains("--help"), "{help}");
        }
        Ok(())
    });
}

#[test]
fn echo_and_forwarder_carry_ncs_bytes_and_drain() {
    watched(|| {
        let (echo, behind) = Running::server("11_echo", &["--threads", "2"])?;
        let (forwarder, addr) = Running::server("12_forwarder", &["--to", &behind, "--drain", "20"])?;
        let text = "all of this, there and back\n".repeat(50_000);
        assert!(run(&mut nc(&addr), text.as_bytes())? == text);
        // A conversation goes on after the signal, and ends the forwarder when it ends.
        let mut talk = Running::new(&mut nc(&addr))?;
        talk.type_in("before\n")?;
        assert_eq!(talk.line()?, "before");
        kill_process(Pid::from_child(&forwarder.child), Signal::TERM)?;
        while std::net::TcpStream::connect(&addr).is_ok() {
            std::thread::sleep(support::ms(2));
        }
        talk.type_in("after\n")?;
        assert_eq!(talk.line()?, "after");
        drop(talk.child.stdin.take());
        assert_eq!(forwarder.terminate()?, ["all connections have ended"]);
        echo.terminate().map(drop)
    });
}

#[test]
fn chat_passes_lines_on_between_nc_and_socat() {
    watched(|| {
        let (chat, addr) = Running::server("13_chat", &[])?;
        let mut one = Running::new(&mut nc(&addr))?;
        let mut two = Running::new(Command::new("socat").args(["-", &format!("TCP:{addr}")]))?;
        // Until both are in the room: somebody hears.
        one.type_in("hello from nc\n")?;
        std::thread::sleep(support::ms(200));
        two.type_in("hello from socat\n")?;
        assert!(one.line()?.ends_with(": hello from socat"));
        one.type_in("once more\n")?;
        let mut heard = two.line()?;
        if heard.ends_with(": hello from nc") {
            heard = two.line()?;
        }
        assert!(heard.ends_with(": once more"), "{heard}");
        drop((one, two));
        chat.terminate().map(drop)
    });
}

#[test]
fn datagrams_pipeline_and_commands_say_what_they_should() {
    watched(|| {
        let said = run(example("14_datagrams").args(["--count", "2"]), b"")?;
        assert_eq!(said, "UDP QUESTION 0\nUDP QUESTION 1\nUNIX QUESTION 0\nUNIX QUESTION 1\n");
        let said = run(&mut example("15_pipeline"), b"")?;
        let counted: u32 = said.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u32>().ok()).sum();
        assert_eq!(counted, 10_000, "{said}");
        let said = run(example("15_pipeline").args(["--limit", "2", "exit 3", "sleep 1000", "true"]), b"")?;
        let lines: Vec<_> = said.lines().collect();
        assert!(lines[0].ends_with("exit status: 3") && lines[1].contains("killed"), "{said}");
        assert!(lines[2].ends_with("exit status: 0"), "{said}");
        Ok(())
    });
}

#[test]
fn a_thousand_names_are_looked_up() {
    watched(|| {
        let names: String = (0..1000)
            .map(|i| if i % 2 == 0 { "localhost\n".into() } else { format!("127.0.{}.1\n", i % 256) })
            .collect();
        let said = run(example("16_resolve").args(["--pool", "10", "--limit", "20"]), names.as_bytes())?;
        assert_eq!(said.lines().count(), 1000);
        assert!(said.lines().all(|line| line.contains("127.0.") || line.contains("::1")), "{said}");
        Ok(())
    });
}

/// A folder that is removed.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn tls_echo_is_trusted_by_openssl() {
    watched(|| {
        let folder = Folder(std::env::temp_dir().join(format!("sward-example-tls-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0)?;
        let path = |name: &str| folder.0.join(name).display().to_string();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        // As its --help says.
        let mut openssl = Command::new("openssl");
        openssl.args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost".split(' '),
        );
        openssl.args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
        run(openssl.args(["-keyout", &key, "-out", &cert]), b"")?;
        let (echo, addr) = Running::server("17_tls_echo", &["--cert", &cert, "--key", &key])?;
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &addr, "-servername", "localhost", "-CAfile", &cert]);
        client.args(["-verify_return_error", "-verify_hostname", "localhost", "-quiet", "-no_ign_eof"]);
        let mut client = Running::new(client.stderr(Stdio::null()))?;
        client.type_in("over TLS\n")?;
        assert_eq!(client.line()?, "over TLS");
        drop(client);
        echo.terminate().map(drop)
    });
}
