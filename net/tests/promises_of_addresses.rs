//! What `ToSocketAddrs` promises.

mod support;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use support::{ms, watched};
use sward::net::{TcpListener, TcpStream, ToSocketAddrs};

/// How many threads look names up.
fn lookup_threads() -> io::Result<usize> {
    let names = std::fs::read_dir("/proc/self/task")?.flatten();
    let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    Ok(names.filter(|name| name.starts_with("sward-dns")).count())
}

/// All in one test: the second half makes threads, which the first half must not.
#[test]
fn numeric_addresses_never_leave_the_thread_and_names_do() {
    watched(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        for _ in 0..3 {
            TcpStream::connect(("127.0.0.1", port))?;
            TcpStream::connect(format!("127.0.0.1:{port}"))?;
            "[::1]:80".to_socket_addrs()?;
            ("::1".to_owned(), 80).to_socket_addrs()?;
        }
        assert_eq!(lookup_threads()?, 0);
        let lookups: Vec<_> = (0..100)
            .map(|_| sward::spawn(move || ("localhost", port).to_socket_addrs().map(Iterator::count)))
            .collect();
        for lookup in lookups {
            assert!(lookup.join().unwrap()? > 0);
        }
        let threads = lookup_threads()?;
        assert!((1..=16).contains(&threads), "{threads} threads");
        let std: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1))?.collect();
        assert_eq!("localhost:1".to_socket_addrs()?.collect::<Vec<_>>(), std);
        // A limit covers the look-up, and the pool is capped, so many abandoned ones do no harm.
        for _ in 0..50 {
            let _ = sward::timeout(ms(0), || "a-name-that-nobody-has.invalid:1".to_socket_addrs());
        }
        assert!(lookup_threads()? <= 16);
        Ok(())
    });
}

#[test]
fn all_of_std_s_implementations_are_there() {
    fn same<T: ToSocketAddrs + std::net::ToSocketAddrs>(value: T) {
        let ours: Vec<_> = ToSocketAddrs::to_socket_addrs(&value).unwrap().collect();
        let std: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs(&value).unwrap().collect();
        assert_eq!(ours, std);
        assert!(!ours.is_empty());
    }
    watched(|| {
        let (v4, v6) = (Ipv4Addr::new(1, 2, 3, 4), Ipv6Addr::LOCALHOST);
        let addrs = [SocketAddr::from((v4, 5)), SocketAddr::from((v6, 6))];
        same(addrs[0]);
        same(SocketAddrV4::new(v4, 7));
        same(SocketAddrV6::new(v6, 8, 0, 0));
        same((IpAddr::from(v6), 9));
        same((v4, 10));
        same((v6, 11));
        same(("1.2.3.4", 12));
        same(("::1".to_owned(), 13));
        same("[::1]:14");
        same("1.2.3.4:15".to_owned());
        same(&addrs[..]);
        same::<&SocketAddr>(&addrs[1]);
        Ok(())
    });
}

#[test]
fn errors_are_std_s() {
    watched(|| {
        for bad in ["", "no port", "host:", "host:port", "host:99999", ":x"] {
            let ours = bad.to_socket_addrs().map(drop).unwrap_err();
            let std = std::net::ToSocketAddrs::to_socket_addrs(bad).map(drop).unwrap_err();
            assert_eq!((ours.kind(), ours.to_string()), (std.kind(), std.to_string()), "{bad:?}");
            assert_eq!(ours.kind(), ErrorKind::InvalidInput);
        }
        Ok(())
    });
}
