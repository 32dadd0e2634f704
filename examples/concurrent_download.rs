//! Downloads pages side by side with `ureq`, a blocking HTTP client that knows nothing of greenlets.
//!
//! `cargo run --features patch --example concurrent_download -- http://127.0.0.1:8000/ ...`; without
//! addresses it starts a slow server of its own. The chapter is `docs/guide/concurrent_download.md`.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Downloads from our own server, if no addresses are given.
const DOWNLOADS: usize = 50;
/// How long that server takes for each.
const PAUSE: Duration = Duration::from_millis(200);

fn main() -> std::io::Result<()> {
    // SAFETY: ureq without TLS keeps nothing in thread-locals, and holds no lock while it waits.
    let report = unsafe { sward::patch::all() };
    if !report.blocking_calls() {
        println!("patching is not possible here: one download at a time");
    }
    let mut addresses: Vec<String> = std::env::args().skip(1).collect();
    if addresses.is_empty() {
        let server = serve()?;
        addresses.extend((0..DOWNLOADS).map(|number| format!("http://{server}/{number}")));
    }
    let start = Instant::now();
    let downloads: Vec<_> = addresses
        .into_iter()
        .map(|address| {
            sward::spawn(move || match download(&address) {
                Ok(bytes) => format!("{address}: {bytes} bytes after {} ms", start.elapsed().as_millis()),
                Err(error) => format!("{address}: {error}"),
            })
        })
        .collect();
    for line in sward::join_all(downloads).into_iter().flatten() {
        println!("{line}");
    }
    println!("all after {} ms, on one thread; libc calls in greenlets:", start.elapsed().as_millis());
    print!("{}", sward::patch::stats());
    Ok(())
}

/// The size of the page.
fn download(address: &str) -> Result<usize, ureq::Error> {
    Ok(ureq::get(address).call()?.body_mut().read_to_vec()?.len())
}

/// Starts a server on std's sockets in greenlets of this thread.
fn serve() -> std::io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    sward::spawn(move || {
        for stream in listener.incoming().flatten() {
            sward::spawn(move || {
                if let Err(error) = answer(stream) {
                    eprintln!("server: {error}");
                }
            });
        }
    });
    Ok(address)
}

/// Answers one request, after a pause.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    std::thread::sleep(PAUSE);
    let page = "a page worth waiting for\n";
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len())
}
