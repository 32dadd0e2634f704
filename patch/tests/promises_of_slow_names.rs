//! Names from a server that takes its time, in network and mount namespaces of the test's own.

#[path = "support/dynamic.rs"]
mod dynamic;
#[path = "support/own_process.rs"]
mod own_process;
#[path = "support/proof.rs"]
mod proof;
mod support;

use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Instant;

use dynamic::{Dynamic, compile};
use own_process::in_own_namespaces;
use proof::{WAIT, proves};
use support::{ms, patched};

#[test]
fn names_of_a_slow_server_are_looked_up_side_by_side() {
    let test = "names_of_a_slow_server_are_looked_up_side_by_side";
    let outcome = in_own_namespaces(test, || {
        bring_loopback_up();
        replace("resolv.conf", "nameserver 127.0.0.1\noptions timeout:20 attempts:1\n");
        replace("nsswitch.conf", "hosts: dns\n");
        let server = UdpSocket::bind("127.0.0.1:53").unwrap();
        std::thread::spawn(move || serve(&server));
        patched(test, in_std_and_in_c);
    });
    let Some(outcome) = outcome else { return };
    print!("{}", String::from_utf8_lossy(&outcome.stdout));
    assert!(outcome.status.success(), "{}{}", outcome.status, String::from_utf8_lossy(&outcome.stderr));
}

fn in_std_and_in_c() {
    let find = |number: usize, ()| {
        let found = (format!("host{number}.test"), 80).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        assert_eq!(found.as_ref().unwrap(), &[SocketAddr::from(([10, 0, 0, number as u8], 80))]);
        found.unwrap()
    };
    proves("ToSocketAddrs, a slow server", 50, |_| (), find);

    let file = compile("names", "names", &[]).expect("cc is installed");
    // SAFETY: its type in `names.c`.
    let resolve: unsafe extern "C" fn(*const c_char, *mut c_void) -> c_int =
        unsafe { Dynamic::open(&file, libc::RTLD_NOW).function(c"library_resolve") };
    std::fs::remove_file(file).unwrap();
    let find = move |number: usize, ()| {
        let (name, mut address) = (CString::new(format!("host{number}.test")).unwrap(), [0u8; 4]);
        // SAFETY: a C string, and room for the address.
        let error = unsafe { resolve(name.as_ptr(), address.as_mut_ptr().cast()) };
        assert_eq!((error, address), (0, [10, 0, 0, number as u8]));
        (error, address)
    };
    proves("getaddrinfo in C, a slow server", 50, |_| (), find);
}

/// Answers questions for the address of "host{n}.test" with 10.0.0.n, [`WAIT`] later, and says at once that
/// there is nothing else.
fn serve(socket: &UdpSocket) {
    socket.set_read_timeout(Some(ms(5))).unwrap();
    let (mut buffer, mut late) = ([0; 512], VecDeque::<(Instant, Vec<u8>, SocketAddr)>::new());
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((len, peer)) => match answer(&buffer[..len]) {
                (true, answer) => late.push_back((Instant::now() + WAIT, answer, peer)),
                (false, answer) => _ = socket.send_to(&answer, peer).unwrap(),
            },
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        while late.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
            let (_, answer, peer) = late.pop_front().unwrap();
            socket.send_to(&answer, peer).unwrap();
        }
    }
}

/// The answer to a question, and whether it has an address in it.
fn answer(question: &[u8]) -> (bool, Vec<u8>) {
    let label = &question[13..13 + usize::from(question[12])];
    let name = question[12..].iter().position(|&byte| byte == 0).unwrap();
    let end = 12 + name + 1 + 4;
    let is_address = question[end - 4..end] == [0, 1, 0, 1];
    let mut answer = question[..end].to_vec();
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    if is_address {
        let number: u8 = std::str::from_utf8(label).unwrap().strip_prefix("host").unwrap().parse().unwrap();
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(Ipv4Addr::new(10, 0, 0, number).octets());
    }
    (is_address, answer)
}

/// What `ip link set lo up` does.
fn bring_loopback_up() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: all zeroes is an `ifreq`; the two calls read it and write to it.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as c_char, b'o' as c_char]);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        assert_eq!(libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw mut request), 0, "{}", std::io::Error::last_os_error());
    }
}

/// Puts `text` in the place of a file in /etc, for this mount namespace.
fn replace(name: &str, text: &str) {
    let file = std::env::temp_dir().join(format!("sward-{name}-{}", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let from = CString::new(file.to_str().unwrap()).unwrap();
    let to = CString::new(format!("/etc/{name}")).unwrap();
    // SAFETY: two paths; a bind mount has neither a type nor data.
    let status = unsafe { libc::mount(from.as_ptr(), to.as_ptr(), std::ptr::null(), libc::MS_BIND, std::ptr::null()) };
    assert_eq!(status, 0, "{to:?}: {}", std::io::Error::last_os_error());
    std::fs::remove_file(file).unwrap();
}
