//! Opens N connections, then sends a request on each at once: `burst ADDR PATH N`. Prints the memory of the server
//! (`PID` as the fourth argument) before, with idle connections, and after.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let (addr, path, n, pid) = (args[1].clone(), &args[2], args[3].parse::<usize>().unwrap(), &args[4]);
    let rss = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap()
    };
    let empty = rss();
    let connections: Vec<_> = (0..n).map(|_| sward::net::TcpStream::connect(&*addr)).collect::<std::io::Result<_>>()?;
    // Each has been served once: that is what an idle connection is.
    let once = |mut stream: &sward::net::TcpStream, path: &str| {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())?;
        stream.read(&mut [0; 1024]).map(drop)
    };
    for connection in &connections {
        once(connection, "/")?;
    }
    sward::sleep(Duration::from_millis(500));
    let idle = rss();
    let mut times: Vec<Duration> = sward::scope(|scope| {
        let requests: Vec<_> = connections
            .iter()
            .map(|connection| {
                scope.spawn(move || {
                    let start = Instant::now();
                    once(connection, path).map(|()| start.elapsed())
                })
            })
            .collect();
        requests.into_iter().filter_map(|request| request.join().unwrap().ok()).collect()
    });
    let busy = rss();
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{} of {n} answered: min {:?} p50 {:?} p99 {:?} max {:?}", times.len(), at(0), at(50), at(99), at(100));
    let each = |kib: f64| (kib - empty) / n as f64;
    println!("server: {empty} KiB empty, {:.1} KiB each idle, {:.1} KiB each after the burst", each(idle), each(busy));
    Ok(())
}
