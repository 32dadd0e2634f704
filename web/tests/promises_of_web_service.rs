//! What the help and the chapter of the example `web_service` promise, of the program as a process of its own.

#[path = "support/service.rs"]
mod service;
mod support;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use service::{Service, allow_descriptors, serve_if_asked};
use support::{ms, read_answer, watched, watched_for};
use sward::net::{TcpListener, TcpStream, UnixStream};
use sward::sync::Barrier;

/// The test that is the service in the other process.
const SELF: &str = "it_stops_gracefully";

/// Starts the service on TCP.
fn start(arguments: &[&str]) -> io::Result<Service> {
    Service::on_tcp(SELF, arguments)
}

/// The answer to a request for `path`, status line and body.
fn get(service: &Service, path: &str) -> io::Result<(String, String)> {
    let mut stream = service.connect()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")?;
    split(&read_answer(&mut stream)?)
}

/// Status line and body.
fn split(answer: &str) -> io::Result<(String, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

/// Its requests in flight end well, and then it ends with the status 0.
#[test]
fn it_stops_gracefully() {
    if serve_if_asked() {
        return;
    }
    watched(|| {
        let service = start(&[])?;
        let mut stream = service.connect()?;
        stream.write_all(b"GET /sleep/timer/?s=0.3 HTTP/1.1\r\nhost: test\r\n\r\n")?;
        let mut idle = service.connect()?;
        idle.write_all(b"GET /nothing HTTP/1.1\r\nhost: test\r\n\r\n")?;
        assert!(read_answer(&mut idle)?.starts_with("HTTP/1.1 404 Not Found\r\n"));
        service.terminate();
        let mut end = Vec::new();
        idle.read_to_end(&mut end)?;
        let addr = service.addr();
        assert!(TcpStream::connect(addr).is_err(), "the idle connection was closed after the listener");
        let (status, body) = split(&read_answer(&mut stream)?)?;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert_eq!(body.matches("USER_NAME_").count(), 50);
        let (status, said) = service.stop()?;
        assert!(status.success(), "{status}: {said}");
        Ok(())
    });
}

#[test]
fn its_routes_answer() {
    watched(|| {
        let service = start(&["--threads", "2"])?;
        let ok = "HTTP/1.1 200 OK".to_owned();
        let begun = Instant::now();
        assert_eq!(get(&service, "/hello/")?, (ok.clone(), "Hello World!".to_owned()));
        assert!(begun.elapsed() >= Duration::from_secs(1));
        let (status, body) = get(&service, "/sleep/timer/?s=0")?;
        assert_eq!(status, ok);
        let beginning = r#"{"accounts":[{"id":1,"title":"USER_NAME_0","done":true,"priority":0},{"id":2,"#;
        assert!(body.starts_with(beginning) && body.ends_with("}]}"), "{body}");
        assert_eq!(body.matches("\"id\":").count(), 50);
        let (status, body) = get(&service, "/sleep/postgres/?s=0")?;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        assert!(body.contains("--postgres URL --create-data"), "{body}");
        for path in ["/sleep/timer/?s=x", "/sleep/postgres/?s=-1", "/cpu/?n=1e9", "/parse/"] {
            assert_eq!(get(&service, path)?.0, "HTTP/1.1 400 Bad Request", "{path}");
        }
        Ok(())
    });
}

/// While a handler computes, others are answered, unless it is rude: then the watchdog says who it is.
#[test]
fn computing_politely_lets_others_be_answered() {
    watched(|| {
        let (mut reports, stderr) = std::io::pipe()?;
        let service = Service::start_with(SELF, &["--addr", "127.0.0.1:0"], stderr)?;
        for (path, polite) in [("/cpu/?n=6", true), ("/cpu/?n=6&rude=1", false)] {
            let mut computing = service.connect()?;
            write!(computing, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")?;
            sward::sleep(ms(50)); // it has begun
            let computed = sward::spawn(move || {
                computing.peek(&mut [0])?; // reading all of it lets others run
                let computed = Instant::now();
                io::Result::Ok((read_answer(&mut computing)?, computed))
            });
            get(&service, "/sleep/timer/?s=0")?;
            let answered = Instant::now();
            let (answer, computed) = computed.join().unwrap()?;
            assert_eq!(answered < computed, polite, "{path}: {:?}", computed.max(answered) - computed.min(answered));
            // The answer says so itself.
            let waited = answer.rsplit_once("others waited ").and_then(|(_, rest)| rest.split_once(" ms"));
            let waited: u64 = waited.and_then(|(waited, _)| waited.parse().ok()).expect(&answer);
            assert!(polite || waited >= 290, "{path}: {answer}");
        }
        // Its names are looked up, in the program of a debug build, for as long as it takes.
        let mut said = String::new();
        sward::offload(move || {
            while !said.contains("compute") {
                let mut some = [0; 4096];
                let count = reports.read(&mut some)?;
                assert!(count > 0, "{said}");
                said.push_str(&String::from_utf8_lossy(&some[..count]));
            }
            assert!(said.contains("has not switched for"), "{said}");
            Ok(())
        })
    });
}

/// A request in flight is on the page, and in the tree with the handler that it is in.
#[test]
fn its_greenlets_can_be_seen() {
    watched(|| {
        let service = start(&[])?;
        let mut stream = service.connect()?;
        stream.write_all(b"GET /sleep/timer/?s=3600 HTTP/1.1\r\nhost: test\r\n\r\n")?;
        sward::sleep(ms(50));
        let (status, page) = get(&service, "/greenlets/")?;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<td>sleep<td"), "{page}");
        let (status, tree) = get(&service, "/greenlets/calls")?;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(tree.contains("waits in sleep") && tree.contains("sleep_by_timer"), "{tree}");
        Ok(())
    });
}

#[test]
fn it_serves_on_a_unix_socket_and_removes_it() {
    watched(|| {
        let path = std::env::temp_dir().join(format!("sward-web-service-{}", std::process::id()));
        let name = path.display().to_string();
        let service = Service::start(SELF, &["--uds", &name])?;
        assert_eq!(service.place, name);
        let mut stream = UnixStream::connect(&path)?;
        stream.write_all(b"GET /sleep/timer/?s=0 HTTP/1.1\r\nhost: test\r\n\r\n")?;
        assert!(read_answer(&mut stream)?.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(service.stop()?.0.success());
        assert!(!path.exists());
        Ok(())
    });
}

#[cfg(feature = "tls")]
#[test]
fn it_serves_https() {
    watched(|| {
        let folder = std::env::temp_dir().join(format!("sward-web-tls-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let (chain, key, connector) = support::certificate();
        let (chain_file, key_file) = (folder.join("chain.pem"), folder.join("key.pem"));
        std::fs::write(&chain_file, chain)?;
        std::fs::write(&key_file, key)?;
        let names = [chain_file.display().to_string(), key_file.display().to_string()];
        let service = start(&["--tls", &names[0], &names[1]])?;
        let mut stream = connector.connect("localhost", service.connect()?)?;
        stream.write_all(b"GET /sleep/timer/?s=0 HTTP/1.1\r\nhost: test\r\n\r\n")?;
        assert!(read_answer(&mut stream)?.starts_with("HTTP/1.1 200 OK\r\n"));
        let Err(error) = start(&["--tls", &names[1], &names[0]]) else { panic!("the files are the wrong ones") };
        assert!(error.to_string().contains("--tls "), "{error}");
        std::fs::remove_dir_all(folder)
    });
}

#[test]
fn the_connections_of_a_hub_may_be_limited() {
    watched(|| {
        let service = start(&["--max-connections", "1"])?;
        let mut first = service.connect()?;
        first.write_all(b"GET /sleep/timer/?s=0 HTTP/1.1\r\nhost: test\r\n\r\n")?;
        read_answer(&mut first)?;
        let mut second = service.connect()?;
        second.write_all(b"GET /sleep/timer/?s=0 HTTP/1.1\r\nhost: test\r\n\r\n")?;
        second.set_read_timeout(Some(ms(100)))?;
        assert!(second.read(&mut [0]).is_err(), "the only place is taken");
        drop(first);
        second.set_read_timeout(None)?;
        assert!(read_answer(&mut second)?.starts_with("HTTP/1.1 200 OK\r\n"));
        Ok(())
    });
}

/// A page is fetched without stopping anybody, and what cannot be fetched says why.
#[test]
fn it_fetches_pages() {
    watched(|| {
        let pages = TcpListener::bind("127.0.0.1:0")?;
        let addr = pages.local_addr()?;
        sward::spawn(move || {
            for (n, stream) in pages.incoming().enumerate() {
                let mut stream = stream?;
                let mut request = [0; 1000];
                let len = stream.read(&mut request)?;
                assert!(request[..len].starts_with(b"GET /page?x=1 HTTP/1.0\r\n"));
                let status = ["200 OK", "404 Not Found"][n];
                sward::sleep(ms(50));
                let page = "<title> A &amp;\nB</title><p><a href=x>x</a> <a name=y>y</a><a href=z>z";
                write!(stream, "HTTP/1.0 {status}\r\nserver: test\r\n\r\n{page}")?;
            }
            io::Result::Ok(())
        });
        let service = start(&[])?;
        let page = format!("/parse/?url=http://{addr}/page%3Fx=1");
        let (status, body) = get(&service, &page)?;
        if cfg!(feature = "real") {
            assert_eq!((&*status, &*body), ("HTTP/1.1 200 OK", r#"{"title":"A & B","links":2,"bytes":70}"#));
        } else {
            assert!(status.contains(" 200 ") || body.contains("apt-get install libxml2"), "{status} {body}");
        }
        assert_eq!(get(&service, &page)?.1, format!("{addr} answers 404\n"));
        for (url, why) in [
            ("https://example.org/", "the URL must begin with http://\n"),
            ("http://a/%0d%0ax:y", "the URL has a character that URLs do not have\n"),
        ] {
            let answer = ("HTTP/1.1 502 Bad Gateway".to_owned(), why.to_owned());
            assert_eq!(get(&service, &format!("/parse/?url={url}"))?, answer);
        }
        Ok(())
    });
}

/// Requests in flight at once.
const CROWD: usize = 10_000;

/// The bounds only hold if nothing serialises; how close to a second all of them are is printed, and measured by
/// `benches/`.
#[test]
fn ten_thousand_requests_sleep_at_once_on_one_thread() {
    watched_for(Duration::from_secs(180), || {
        allow_descriptors(CROWD as u64 + 200);
        let service = start(&["--threads", "1"])?;
        let before = service.memory()?;
        let (all_are_open, all_are_sent) = (Barrier::new(CROWD), Barrier::new(CROWD + 1));
        let (mut times, memory) = sward::scope(|scope| {
            let clients: Vec<_> =
                (0..CROWD).map(|_| scope.spawn(|| one_of_the_crowd(&service, &all_are_open, &all_are_sent))).collect();
            all_are_sent.wait();
            sward::sleep(ms(500)); // they sleep
            let memory = service.memory();
            let times: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
            (times.into_iter().collect::<io::Result<Vec<_>>>().unwrap(), memory)
        });
        times.sort();
        let percentile = |percent: usize| times[(CROWD * percent / 100).min(CROWD - 1)];
        println!(
            "{CROWD} requests: first {:?}, half {:?}, 99 % {:?}, all {:?}",
            percentile(0),
            percentile(50),
            percentile(99),
            percentile(100)
        );
        let each = memory?.saturating_sub(before) / CROWD as u64;
        println!("{each} bytes of memory for each connection with its request");
        assert!(percentile(0) >= Duration::from_secs(1), "{:?}", percentile(0));
        // A thousand at a time would take ten seconds, and a machine that does other things two.
        assert!(percentile(100) < Duration::from_secs(10), "{:?}", percentile(100));
        // Stacks are deeper without optimization, and on a busy machine more of them run at a time. With it, the
        // handlers, which are axum's, need two pages.
        let most = if cfg!(debug_assertions) { 60 } else { 20 };
        assert!(each < most * 1024, "{each} bytes");
        assert!(service.stop()?.0.success());
        Ok(())
    });
}

/// How long its answer took from when it was sent.
fn one_of_the_crowd(service: &Service, all_are_open: &Barrier, all_are_sent: &Barrier) -> io::Result<Duration> {
    let mut stream = service.connect()?;
    // An answer: the connection was accepted.
    stream.write_all(b"GET /nothing HTTP/1.1\r\nhost: test\r\n\r\n")?;
    read_whole_answer(&mut stream, b"\r\n\r\n")?;
    all_are_open.wait();
    let sent = Instant::now();
    stream.write_all(b"GET /hello/ HTTP/1.1\r\nhost: test\r\n\r\n")?;
    all_are_sent.wait();
    let answer = read_whole_answer(&mut stream, b"Hello World!")?;
    let time = sent.elapsed();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
    Ok(time)
}

/// Reads, in as few calls as there are, until `end`.
fn read_whole_answer(stream: &mut TcpStream, end: &[u8]) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    while !answer.ends_with(end) {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => answer.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(answer)
}
