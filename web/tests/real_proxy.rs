//! nginx in front, over TCP and over a Unix socket, as most services are deployed. Behind the feature `real`, since
//! nginx must be installed.

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use support::{ms, read_answer, watched};
use sward::net::TcpStream;
use sward::process::{Child, Command, Stdio};
use sward::web::{self, Body, Reply, Request, Response, Server};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// One test at a time: the port that nginx is to have is free for a moment, and another test would be given it.
static ALONE: Mutex<()> = Mutex::new(());

/// An nginx in a temporary folder; gone when dropped.
struct Nginx {
    folder: PathBuf,
    child: Child,
    addr: SocketAddr,
}

impl Nginx {
    /// In front of `upstream`, in nginx' notation. `keep` is for its lines about connections to that.
    fn start(name: &str, upstream: &str) -> io::Result<Nginx> {
        let folder = std::env::temp_dir().join(format!("sward-web-nginx-{name}-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let addr = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let conf = folder.join("nginx.conf");
        fs::write(&conf, configuration(&folder, upstream, addr))?;
        let child = Command::new("/usr/sbin/nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&conf)
            .args(["-e", "error.log"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut nginx = Nginx { folder, child, addr };
        while TcpStream::connect(addr).is_err() {
            if let Some(status) = nginx.child.try_wait()? {
                return Err(io::Error::other(format!("nginx: {status}: {}", nginx.errors())));
            }
            sward::sleep(ms(10));
        }
        Ok(nginx)
    }

    /// What it complains about.
    fn errors(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the workers end too.
        let id = rustix::process::Pid::from_raw(self.child.id() as i32).expect("no process has the id 0");
        _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        _ = self.child.wait();
        _ = fs::remove_dir_all(&self.folder);
    }
}

fn configuration(folder: &Path, upstream: &str, addr: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off; worker_processes 1; pid {folder}/pid;
        events {{ worker_connections 1000; }}
        http {{
            access_log off; client_max_body_size 100m; client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
            scgi_temp_path {folder}/s;
            upstream app {{ server {upstream}; keepalive 16; }}
            map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
            server {{
                listen {addr};
                location / {{
                    proxy_pass http://app; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
                    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
                    proxy_set_header X-Forwarded-For $remote_addr;
                }}
            }}
        }}"
    )
}

/// The application behind it.
fn app(mut request: Request<Body>) -> io::Result<Response<Reply>> {
    match request.uri().path() {
        "/events" => Ok(Response::new(Reply::from_writer(|writer| {
            for n in 0..3 {
                write!(writer, "data: {n}\n\n")?;
                sward::sleep(ms(100));
            }
            Ok(())
        }))),
        "/chat" => {
            web::upgrade(|stream| {
                let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
                while let Ok(Message::Text(text)) = socket.read() {
                    socket.send(Message::text(text.to_uppercase())).unwrap();
                }
            })?;
            let key = request.headers()["sec-websocket-key"].as_bytes();
            let response = Response::builder().status(101).header("connection", "upgrade");
            let response =
                response.header("upgrade", "websocket").header("sec-websocket-accept", derive_accept_key(key));
            Ok(response.body(Reply::default()).unwrap())
        }
        _ => {
            let mut body = Vec::new();
            request.body_mut().read_to_end(&mut body)?;
            let asked_by = request.headers()["x-forwarded-for"].to_str().unwrap_or_default();
            Ok(Response::new(format!("{} {} for {asked_by}", request.method(), body.len()).into()))
        }
    }
}

/// What a client sees of the application through nginx.
fn check(nginx: &Nginx) -> io::Result<()> {
    let mut stream = TcpStream::connect(nginx.addr)?;
    for _ in 0..100 {
        // Connections to the application are used again.
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(read_answer(&mut stream)?.ends_with("\r\n\r\nGET 0 for 127.0.0.1"));
    }
    let body = "x".repeat(3_000_000);
    write!(stream, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    assert!(read_answer(&mut stream)?.ends_with("\r\n\r\nPOST 3000000 for 127.0.0.1"));
    stream.write_all(
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    )?;
    assert!(read_answer(&mut stream)?.ends_with("\r\n\r\nPOST 5 for 127.0.0.1"));

    // Events come one by one.
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")?;
    assert!(read_answer(&mut stream)?.starts_with("HTTP/1.1 200 OK\r\n"));
    for n in 0..3 {
        let expected = format!("9\r\ndata: {n}\n\n\r\n");
        let mut chunk = vec![0; expected.len()];
        stream.read_exact(&mut chunk)?;
        assert_eq!(String::from_utf8_lossy(&chunk), expected);
    }
    let mut end = [0; 5];
    stream.read_exact(&mut end)?;
    assert_eq!(&end, b"0\r\n\r\n");

    let url = format!("ws://{}/chat", nginx.addr);
    let (mut socket, _) = tungstenite::client(url, TcpStream::connect(nginx.addr)?).unwrap();
    for text in ["hello", "again"] {
        socket.send(Message::text(text)).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text(text.to_uppercase()));
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}

    sward::scope(|s| {
        for _ in 0..50 {
            s.spawn(|| {
                let mut stream = TcpStream::connect(nginx.addr).unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
                assert!(read_answer(&mut stream).unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
            });
        }
    });
    assert_eq!(nginx.errors(), "");
    Ok(())
}

#[test]
fn nginx_passes_requests_on_over_tcp() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    watched(|| {
        let server = support::start(app)?;
        check(&Nginx::start("tcp", &server.addr.to_string())?)?;
        server.stop()
    });
}

#[test]
fn nginx_passes_requests_on_over_a_unix_socket() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    watched(|| {
        let path = std::env::temp_dir().join(format!("sward-web-proxied-{}", std::process::id()));
        let server = Server::bind_unix(&path)?;
        // Its workers run as somebody else.
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&path, everybody)?;
        let handle = server.handle();
        let serving = sward::spawn(move || server.serve(app));
        check(&Nginx::start("unix", &format!("unix:{}", path.display()))?)?;
        fs::remove_file(path)?;
        handle.stop();
        serving.join().unwrap()
    });
}
