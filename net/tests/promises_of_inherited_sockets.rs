//! What `Server::inherited` promises: in a process of its own, with sockets as a service manager passes them.

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use support::{ms, watched};
use sward::net::Server;
use sward::spawn;

/// Set in the process that inherits.
const CHILD: &str = "SWARD_TEST_INHERITS";

/// Makes descriptors 3 and 4 of 0 and 1, and says so, as sd_listen_fds(3) describes it.
const MANAGER: &str = r#"exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec "$@""#;

#[test]
fn a_server_takes_over_what_a_service_manager_passes() {
    watched(|| {
        if std::env::var_os(CHILD).is_some() {
            return child();
        }
        let path = std::env::temp_dir().join(format!("sward-inherited-{}", std::process::id()));
        let (tcp, unix) = (TcpListener::bind("127.0.0.1:0")?, UnixListener::bind(&path)?);
        let addr = tcp.local_addr()?;
        // Before anybody serves: nothing is refused.
        let mut early = TcpStream::connect(addr)?;
        let mut manager = Command::new("sh");
        manager.args(["-c", MANAGER, "sh"]).arg(std::env::current_exe()?);
        manager.args(["a_server_takes_over_what_a_service_manager_passes", "--exact"]).env(CHILD, "1");
        manager.stdin(Stdio::from(OwnedFd::from(tcp))).stdout(Stdio::from(OwnedFd::from(unix)));
        let mut child = manager.spawn()?;
        drop(manager); // and with it our copies of the sockets
        early.write_all(b"over TCP")?;
        early.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        early.read_to_string(&mut answer)?;
        assert_eq!(answer, "over TCP");
        let mut stream = UnixStream::connect(&path)?;
        stream.write_all(b"over Unix")?;
        stream.shutdown(Shutdown::Write)?;
        answer.clear();
        stream.read_to_string(&mut answer)?;
        assert_eq!(answer, "over Unix");
        assert!(child.wait()?.success());
        std::fs::remove_file(path)
    });
}

/// Serves TCP, then one connection of the Unix socket, which is the last of all.
fn child() -> io::Result<()> {
    assert_eq!(Server::inherited(1).unwrap_err().kind(), ErrorKind::InvalidInput);
    let tcp = Server::inherited(0)?.expect("a TCP socket");
    assert!(Server::inherited(0)?.is_none(), "taken");
    assert!(Server::inherited(2)?.is_none(), "not passed");
    let unix = Server::inherited_unix(1)?.expect("a Unix socket");
    let (tcp_handle, unix_handle) = (tcp.handle(), unix.handle());
    // The other hub's listener shares the port with one that was opened without `SO_REUSEPORT`.
    let serving = spawn(move || tcp.threads(2).serve(|stream, _peer| io::copy(&mut &stream, &mut &stream)));
    unix.serve(move |stream, _peer| {
        io::copy(&mut &stream, &mut &stream).unwrap();
        unix_handle.stop_timeout(ms(1000));
    })?;
    tcp_handle.stop();
    serving.join().unwrap()
}
