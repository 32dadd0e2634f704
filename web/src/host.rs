//! Where a request is meant to go.

use std::cell::Cell;

use http::uri::Authority;
use http::{Version, request};

/// Whether a request says once where it is meant to go (RFC 9112, 3.2): two servers must not read it
/// differently. HTTP/1.0 need not say it, and HTTP/2 has another place for it (RFC 9113, 8.3.1).
#[inline]
pub(crate) fn is_there(head: &request::Parts, known: &KnownHost) -> bool {
    let mut host = None;
    // Few fields are looked through faster than one is looked up.
    for (name, value) in &head.headers {
        if *name == http::header::HOST && host.replace(value.as_bytes()).is_some() {
            return false;
        }
    }
    let Some(host) = host else { return head.version != Version::HTTP_11 };
    let is_other = |said: &Authority| !said.as_str().as_bytes().eq_ignore_ascii_case(host);
    known.is(host) && !(head.version == Version::HTTP_2 && head.uri.authority().is_some_and(is_other))
}

/// The host that was asked for last: nearly all requests say the same.
#[derive(Default)]
pub(crate) struct KnownHost(Cell<Vec<u8>>);

impl KnownHost {
    /// Whether it is a host.
    #[inline]
    fn is(&self, text: &[u8]) -> bool {
        let mut known = self.0.take();
        let is = known == text || is_host(text);
        if is && known != text {
            known.clear();
            known.extend_from_slice(text);
        }
        self.0.set(known);
        is
    }
}

/// Whether it is a name, an address or nothing, and perhaps a port (RFC 3986, 3.2.2): what has a space, a slash or a
/// user in it is taken apart differently by whoever comes next.
fn is_host(text: &[u8]) -> bool {
    let is_name = |byte: &&u8| IN_NAMES[usize::from(**byte)];
    let name = text.iter().take_while(is_name).count();
    let port = match &text[name..] {
        [] => return true,
        [b':', port @ ..] => port,
        [b'[', address @ ..] if name == 0 => {
            let len = address.iter().take_while(|byte| **byte == b':' || is_name(byte)).count();
            match &address[len..] {
                [b']'] => return true,
                [b']', b':', port @ ..] => port,
                _ => return false,
            }
        }
        _ => return false,
    };
    port.iter().all(u8::is_ascii_digit)
}

/// The bytes that a name may have.
static IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~%!$&'()*+,;=";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};
