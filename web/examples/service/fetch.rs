//! A green client: fetches a page over plain HTTP, in blocking style.

use std::io::{Read, Write};

use sward::net::TcpStream;

/// The largest page, with its head.
const LIMIT: u64 = 8 * 1024 * 1024;

/// The page at `url`, or what is wrong. Blocks the greenlet.
pub(crate) fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let rest = url.strip_prefix("http://").ok_or("the URL must begin with http://")?;
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    // What becomes part of the request must not end its line.
    if url.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return Err("the URL has a character that URLs do not have".to_owned());
    }
    let has_port = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let address = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let failed = |error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(&*address).map_err(failed)?;
    // Version 1.0: the answer ends where the connection does, and is not in chunks.
    let request = format!("GET {slash}{path} HTTP/1.0\r\nHost: {authority}\r\nAccept: text/html\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(LIMIT).read_to_end(&mut answer).map_err(failed)?;
    if answer.len() as u64 == LIMIT {
        return Err(format!("{address}: the page is longer than {LIMIT} bytes"));
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.filter(|_| answer.starts_with(b"HTTP/1.")).ok_or_else(|| format!("{address} does not speak HTTP"))?;
    match answer.get(9..12) {
        Some(b"200") => Ok(answer.split_off(end + 4)),
        Some(status) => Err(format!("{address} answers {}", String::from_utf8_lossy(status))),
        None => Err(format!("{address} answers nothing")),
    }
}
