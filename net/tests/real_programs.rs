//! Promises that only programs which nobody here wrote can check: curl, wrk, nc, socat, openssl and dig do real
//! work against our sockets, on the same hub. Behind the feature `real`, since they must be installed.

#[path = "support/dns.rs"]
mod dns;
mod support;

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use support::{ms, watched};
use sward::net::{Server, ServerHandle, Shutdown, SocketAddr, TcpStream, UdpSocket};
use sward::process::{Child, Command, Stdio};
use sward::tls::rustls::pki_types::PrivateKeyDer;
use sward::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use sward::tls::{Acceptor, Connector};
use sward::{scope, spawn};

/// What a server sends for a path such as `/5000`: so many bytes.
fn body(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Runs a program with this on its stdin, and returns its stdout; it must end well.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> io::Result<Vec<u8>> {
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writing = spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    writing.join().unwrap()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}: {said}", output.status);
    Ok(output.stdout)
}

/// A program that is killed, by its handle, when the test is done with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves this in a greenlet.
fn serve<R: 'static>(handler: impl Fn(TcpStream) -> R + 'static) -> io::Result<(SocketAddr, ServerHandle)> {
    let server = Server::bind("127.0.0.1:0")?;
    let (addr, handle) = (server.local_addr()?, server.handle());
    spawn(move || server.serve(move |stream, _peer| handler(stream)));
    Ok((addr, handle))
}

/// HTTP by hand: `GET /n` answers n bytes, `POST` answers what was posted; connections are kept alive.
fn http(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut request, mut line, mut length) = (String::new(), String::new(), 0);
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        while reader.read_line({
            line.clear();
            &mut line
        })? > 2
        {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        if let Some(rest) = request.strip_prefix("GET /") {
            answer = body(rest.split(' ').next().unwrap().parse().unwrap());
        }
        let mut all = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len()).into_bytes();
        all.extend(answer);
        (&mut &*stream).write_all(&all)?;
    }
}

#[test]
fn nc_gets_its_bytes_back() {
    watched(|| {
        let (addr, handle) = serve(|stream| io::copy(&mut &stream, &mut &stream))?;
        let sent = body(3 << 20);
        let port = addr.port().to_string();
        assert!(run("nc", &["-N", "127.0.0.1", &port], &sent)? == sent);
        handle.stop();

        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let port = socket.local_addr()?.port().to_string();
        let echo = spawn(move || -> io::Result<()> {
            let mut buf = [0; 100];
            let (n, peer) = socket.recv_from(&mut buf)?;
            socket.send_to(&buf[..n], peer).map(drop)
        });
        assert_eq!(run("nc", &["-u", "-w", "5", "-W", "1", "127.0.0.1", &port], b"over UDP")?, b"over UDP");
        echo.join().unwrap()
    });
}

/// The answer needs the end of the question, and comes after it.
fn count(mut stream: impl Read + Write) -> io::Result<()> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    write!(stream, "{} bytes", all.len())
}

#[test]
fn socat_closes_one_direction_and_hears_the_answer() {
    watched(|| {
        let (addr, handle) = serve(count)?;
        let sent = body(1 << 20);
        assert_eq!(run("socat", &["-t", "10", "-", &format!("TCP:{addr}")], &sent)?, b"1048576 bytes");
        handle.stop();

        let path = std::env::temp_dir().join(format!("sward-socat-{}", std::process::id()));
        let server = Server::bind_unix(&path)?;
        let handle = server.handle();
        spawn(move || server.serve(|stream, _peer| count(stream)));
        let there = format!("UNIX-CONNECT:{}", path.display());
        assert_eq!(run("socat", &["-t", "10", "-", &there], &sent)?, b"1048576 bytes");
        handle.stop();
        std::fs::remove_file(path)
    });
}

#[test]
fn curl_gets_and_posts_on_one_connection() {
    watched(|| {
        let connections = Rc::new(Cell::new(0));
        let counted = connections.clone();
        let (addr, handle) = serve(move |stream| {
            counted.set(counted.get() + 1);
            http(&stream)
        })?;
        let (one, two) = (format!("http://{addr}/10"), format!("http://{addr}/100000"));
        let both = run("curl", &["-sS", "--max-time", "20", &one, &two], b"")?;
        assert!(both == [body(10), body(100_000)].concat());
        assert_eq!(connections.get(), 1);
        let posted = body(2 << 20);
        let arguments = ["-sS", "--max-time", "20", "-H", "Expect:", "--data-binary", "@-", &one];
        assert!(run("curl", &arguments, &posted)? == posted);
        handle.stop();
        Ok(())
    });
}

#[test]
fn wrk_sees_no_error_on_fifty_connections() {
    watched(|| {
        let (addr, handle) = serve(|stream| http(&stream))?;
        let url = format!("http://{addr}/64");
        let report = run("wrk", &["-t", "1", "-c", "50", "-d", "1s", "--timeout", "10s", &url], b"")?;
        let report = String::from_utf8_lossy(&report);
        assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
        let line = report.lines().find(|line| line.contains("requests in")).unwrap_or_else(|| panic!("{report}"));
        let requests: u32 = line.split_whitespace().next().unwrap().parse().unwrap();
        assert!(requests >= 50, "{report}");
        handle.stop();
        Ok(())
    });
}

/// A certificate for "localhost" and its key as PEM files, and as rustls has them.
struct Certificate {
    folder: PathBuf,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Certificate {
    fn new(name: &str) -> io::Result<Certificate> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("sward-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("cert.pem"), made.cert.pem())?;
        std::fs::write(folder.join("key.pem"), made.key_pair.serialize_pem())?;
        let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let server = ServerConfig::builder().with_no_client_auth();
        let server = server.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Certificate { folder, server: Arc::new(server), client: Arc::new(client) })
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn openssl_as_a_client_trusts_our_server() {
    watched(|| {
        let certificate = Certificate::new("s_client")?;
        let acceptor = Acceptor::new(certificate.server.clone());
        let (addr, handle) = serve(move |stream| -> io::Result<()> {
            let stream = acceptor.accept(stream)?;
            for _ in 0..3 {
                let mut word = [0; 6];
                (&stream).read_exact(&mut word)?;
                (&stream).write_all(&word.to_ascii_uppercase())?;
            }
            stream.shutdown()
        })?;
        let (addr, trusted) = (addr.to_string(), certificate.path("cert.pem"));
        for version in ["-tls1_2", "-tls1_3"] {
            let mut arguments = vec!["s_client", "-connect", &addr, "-servername", "localhost", "-CAfile", &trusted];
            arguments.extend(["-verify_return_error", "-verify_hostname", "localhost", "-quiet", version]);
            assert_eq!(run("openssl", &arguments, b"hello world again\n")?, b"HELLO WORLD AGAIN\n");
        }
        handle.stop();
        Ok(())
    });
}

#[test]
fn openssl_as_a_server_is_trusted_by_our_client() {
    watched(|| {
        let certificate = Certificate::new("s_server")?;
        let (cert, key) = (certificate.path("cert.pem"), certificate.path("key.pem"));
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", &cert, "-key", &key, "-rev"]);
        let mut server = Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        let mut said = BufReader::new(server.0.stdout.take().unwrap()).lines();
        let addr = loop {
            let line = said.next().expect("s_server says where it listens")?;
            if let Some(addr) = line.strip_prefix("ACCEPT ") {
                break addr.to_owned();
            }
        };
        let _draining = spawn(move || said.for_each(drop));
        let connector = Connector::new(certificate.client.clone());
        for text in ["greenlet", "sward"] {
            let stream = connector.connect("localhost", TcpStream::connect(addr.as_str())?)?;
            (&stream).write_all(format!("{text}\n").as_bytes())?;
            let mut answer = String::new();
            BufReader::new(&stream).read_line(&mut answer)?;
            assert_eq!(answer.trim_end(), text.chars().rev().collect::<String>());
            stream.shutdown()?;
        }
        Ok(())
    });
}

#[test]
fn dig_understands_a_responder_of_ours() {
    watched(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let port = socket.local_addr()?.port().to_string();
        let responder = spawn(move || dns::answer_all(&socket));
        scope(|s| {
            for i in 1..=10 {
                let port = &port;
                s.spawn(move || {
                    let name = format!("{}.sward.test", "x".repeat(i));
                    let arguments = ["@127.0.0.1", "-p", port, "+short", "+time=5", "+tries=2", &name, "A"];
                    let said = run("dig", &arguments, b"").unwrap();
                    assert_eq!(String::from_utf8_lossy(&said), format!("10.0.0.{i}\n"));
                });
            }
        });
        responder.kill();
        Ok(())
    });
}

/// One direction of a forwarder.
fn pump(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    match to.shutdown(Shutdown::Write) {
        Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
        _ => Ok(()), // gone already
    }
}

#[test]
fn a_forwarder_carries_curls_megabytes() {
    watched(|| {
        let (behind, stop_behind) = serve(|stream| http(&stream))?;
        let (addr, stop) = serve(move |client| -> io::Result<()> {
            let server = TcpStream::connect_timeout(&behind, ms(5000))?;
            scope(|s| {
                let back = s.spawn(|| pump(&server, &client));
                pump(&client, &server)?;
                back.join().unwrap()
            })
        })?;
        let url = format!("http://{addr}/8000000");
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| assert!(run("curl", &["-sS", "--max-time", "20", &url], b"").unwrap() == body(8_000_000)));
            }
        });
        stop.stop();
        stop_behind.stop();
        Ok(())
    });
}
