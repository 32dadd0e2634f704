//! std, unmodified, in many greenlets of one thread.

#[path = "support/proof.rs"]
mod proof;
mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;

use proof::{WAIT, proves};
use support::{greenlets, ms, patched, takes};

#[test]
fn sleeps_run_side_by_side() {
    patched("sleeps_run_side_by_side", || {
        let parks = || sward::patch::stats().of("clock_nanosleep").parks + sward::patch::stats().of("nanosleep").parks;
        let before = parks();
        proves("std::thread::sleep", 100, |_| (), |_, ()| thread::sleep(WAIT));
        assert!(parks() - before >= 100, "{}", sward::patch::stats());
    });
}

#[test]
fn client_and_server_share_a_thread() {
    patched("client_and_server_share_a_thread", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = sward::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                sward::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(n @ 1..) = stream.read(&mut buffer) {
                        thread::sleep(WAIT / 3 + ms(1));
                        stream.write_all(&buffer[..n]).unwrap();
                    }
                });
            }
        });
        proves(
            "std::net, client and server",
            100,
            |_| (),
            move |number, ()| {
                let mut stream = TcpStream::connect(address).unwrap();
                let mut all = Vec::new();
                for round in 0..3 {
                    let text = format!("{number}.{round}");
                    stream.write_all(text.as_bytes()).unwrap();
                    let mut answer = vec![0; text.len()];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, text.as_bytes());
                    all.push(answer);
                }
                all
            },
        );
        server.kill();
        // `incoming` reports the error, on which the loop above panics; or the next park raises.
        assert!(server.join().is_err());
    });
}

#[test]
fn unix_sockets_and_datagrams_park() {
    patched("unix_sockets_and_datagrams_park", || {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let reader = sward::spawn(move || {
            let mut buffer = [0; 5];
            b.read_exact(&mut buffer).unwrap();
            buffer
        });
        let (c, d) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = d.local_addr().unwrap();
        let receiver = sward::spawn(move || {
            let mut buffer = [0; 5];
            let (n, from) = d.recv_from(&mut buffer).unwrap();
            (buffer[..n].to_vec(), from)
        });
        sward::sleep(ms(10));
        a.write_all(b"hello").unwrap();
        c.send_to(b"you", to).unwrap();
        assert_eq!(&reader.join().unwrap(), b"hello");
        assert_eq!(receiver.join().unwrap(), (b"you".to_vec(), c.local_addr().unwrap()));
    });
}

#[test]
fn eight_mebibytes_reach_a_slow_reader_in_one_write() {
    patched("eight_mebibytes_reach_a_slow_reader_in_one_write", || {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let data: Vec<u8> = (0..8 << 20).map(|i: u32| (i % 251) as u8).collect();
        let expected = data.clone();
        let writer = sward::spawn(move || a.write(&data).unwrap());
        let reader = sward::spawn(move || {
            let (mut all, mut buffer) = (Vec::new(), vec![0; 256 << 10]);
            loop {
                let n = b.read(&mut buffer).unwrap();
                if n == 0 {
                    return all;
                }
                all.extend_from_slice(&buffer[..n]);
                thread::sleep(ms(1));
            }
        });
        assert_eq!(writer.join().unwrap(), 8 << 20);
        assert!(reader.join().unwrap() == expected);
    });
}

#[test]
fn vectored_writes_reach_a_slow_reader_whole() {
    patched("vectored_writes_reach_a_slow_reader_whole", || {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let writer = sward::spawn(move || {
            let (x, y, z) = (vec![1u8; 700_001], vec![2u8; 1], vec![3u8; 900_000]);
            let parts = [io::IoSlice::new(&x), io::IoSlice::new(&y), io::IoSlice::new(&[]), io::IoSlice::new(&z)];
            a.write_vectored(&parts).unwrap()
        });
        let mut all = Vec::new();
        let reader = sward::spawn(move || b.read_to_end(&mut all).map(|_| all).unwrap());
        assert_eq!(writer.join().unwrap(), 1_600_002);
        let all = reader.join().unwrap();
        assert_eq!((all[700_000], all[700_001], all[700_002], all.len()), (1, 2, 3, 1_600_002));
    });
}

#[test]
fn read_timeouts_are_kept() {
    patched("read_timeouts_are_kept", || {
        let reader = sward::spawn(|| {
            let (mut a, _b) = UnixStream::pair().unwrap();
            a.set_read_timeout(Some(ms(50))).unwrap();
            let error = takes(ms(45), ms(500), || a.read(&mut [0; 1]).unwrap_err());
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        });
        let other = sward::spawn(|| takes(ms(20), ms(500), || thread::sleep(ms(20))));
        other.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn connect_timeout_works() {
    patched("connect_timeout_works", || {
        sward::spawn(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            TcpStream::connect_timeout(&listener.local_addr().unwrap(), ms(1000)).unwrap();
            let free = {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                listener.local_addr().unwrap()
            };
            let error = TcpStream::connect_timeout(&free, ms(1000)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            assert_eq!(TcpStream::connect(free).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        })
        .join()
        .unwrap();
    });
}

#[test]
fn nonblocking_sockets_keep_giving_would_block() {
    patched("nonblocking_sockets_keep_giving_would_block", || {
        sward::spawn(|| {
            let (mut a, _b) = UnixStream::pair().unwrap();
            a.set_nonblocking(true).unwrap();
            assert_eq!(a.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
            let mut sent = 0;
            loop {
                match a.write(&[0; 65_536]) {
                    Ok(n) => sent += n,
                    Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            assert!(sent > 0);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        })
        .join()
        .unwrap();
    });
}

#[test]
fn a_full_backlog_of_a_unix_socket_is_waited_out() {
    patched("a_full_backlog_of_a_unix_socket_is_waited_out", || {
        let path = std::env::temp_dir().join(format!("sward-backlog-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        // SAFETY: takes numbers only.
        unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&listener), 1) };
        let acceptor = sward::spawn(move || {
            thread::sleep(ms(30));
            (0..8).filter(|_| listener.accept().is_ok()).count()
        });
        let to = path.clone();
        greenlets(8, move |_| UnixStream::connect(&to).unwrap());
        assert_eq!(acceptor.join().unwrap(), 8);
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn processes_are_waited_for_side_by_side() {
    patched("processes_are_waited_for_side_by_side", || {
        proves(
            "std::process::Command",
            50,
            |_| (),
            |number, ()| {
                let script = format!("sleep 0.2; echo out{number}; echo err{number} >&2; exit {number}");
                let output = Command::new("sh").args(["-c", &script]).output().unwrap();
                assert_eq!(output.status.code(), Some(number as i32));
                assert_eq!(output.stdout, format!("out{number}\n").into_bytes());
                assert_eq!(output.stderr, format!("err{number}\n").into_bytes());
                output
            },
        );
        let before = sward::patch::stats().of("waitid").parks + sward::patch::stats().of("waitpid").parks;
        takes(ms(100), ms(1000), || {
            greenlets(5, |_| {
                let status = Command::new("sleep").arg("0.1").stdin(Stdio::null()).status().unwrap();
                assert!(status.success());
            })
        });
        let after = sward::patch::stats().of("waitid").parks + sward::patch::stats().of("waitpid").parks;
        assert!(after > before, "{}", sward::patch::stats());
    });
}

#[test]
fn a_process_is_forked_with_a_closure_while_others_wait() {
    use std::os::unix::process::CommandExt;
    patched("a_process_is_forked_with_a_closure_while_others_wait", || {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let waits = sward::spawn(move || {
            let mut byte = [0];
            b.read_exact(&mut byte).map(|()| byte)
        });
        greenlets(10, |number| {
            let mut command = Command::new("sh");
            command.args(["-c", "sleep 0.05; exit $(ulimit -n)"]);
            let limit = libc::rlimit { rlim_cur: 100 + number as u64, rlim_max: 200 };
            // std forks instead of spawning when there is a closure.
            // SAFETY: one system call, which may be made between fork and exec.
            unsafe {
                command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                })
            };
            assert_eq!(command.status().unwrap().code(), Some(100 + number as i32));
            // SAFETY: as above.
            let refused = unsafe { Command::new("sh").pre_exec(|| Err(ErrorKind::Other.into())).status() };
            assert!(refused.is_err());
        });
        assert!(!waits.is_finished());
        a.write_all(b"x").unwrap();
        assert_eq!(waits.join().unwrap().unwrap(), *b"x");
    });
}

#[test]
fn threads_are_joined_while_others_run() {
    patched("threads_are_joined_while_others_run", || {
        takes(ms(100), ms(500), || {
            let sum: usize = greenlets(10, |number| {
                thread::spawn(move || {
                    thread::sleep(ms(100));
                    number
                })
                .join()
                .unwrap()
            })
            .into_iter()
            .sum();
            assert_eq!(sum, 45);
        });
    });
}

/// A statically linked program has one `getaddrinfo` only.
#[cfg(not(target_feature = "crt-static"))]
#[test]
fn names_are_looked_up_on_the_pool() {
    use std::net::ToSocketAddrs;
    patched("names_are_looked_up_on_the_pool", || {
        let before = sward::patch::stats().of("getaddrinfo");
        let found = greenlets(20, |_| ("localhost", 80).to_socket_addrs().unwrap().count());
        assert!(found.iter().all(|count| *count > 0));
        let numeric = sward::spawn(|| ("127.0.0.1", 80).to_socket_addrs().unwrap().count()).join().unwrap();
        assert_eq!(numeric, 1);
        let after = sward::patch::stats().of("getaddrinfo");
        assert!(after.parks - before.parks >= 20, "{}", sward::patch::stats());
    });
}

#[test]
fn copies_between_sockets_and_files_fall_back() {
    patched("copies_between_sockets_and_files_fall_back", || {
        let path = std::env::temp_dir().join(format!("sward-copy-{}", std::process::id()));
        std::fs::write(&path, vec![7u8; 1 << 20]).unwrap();
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let from = path.clone();
        let sender = sward::spawn(move || io::copy(&mut std::fs::File::open(from).unwrap(), &mut a).unwrap());
        let receiver = sward::spawn(move || {
            let mut all = Vec::new();
            b.read_to_end(&mut all).unwrap();
            all
        });
        assert_eq!(sender.join().unwrap(), 1 << 20);
        assert!(receiver.join().unwrap() == vec![7u8; 1 << 20]);
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn two_hubs_do_not_disturb_each_other() {
    patched("two_hubs_do_not_disturb_each_other", || {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let other = thread::spawn(move || {
            let echo = sward::spawn(move || {
                let mut byte = [0];
                for _ in 0..100 {
                    b.read_exact(&mut byte).unwrap();
                    b.write_all(&byte).unwrap();
                }
            });
            echo.join().unwrap();
        });
        let asker = sward::spawn(move || {
            let mut byte = [0];
            for round in 0..100 {
                a.write_all(&[round]).unwrap();
                a.read_exact(&mut byte).unwrap();
                assert_eq!(byte[0], round);
            }
        });
        asker.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn without_blocks_the_thread() {
    patched("without_blocks_the_thread", || {
        let slept = std::rc::Rc::new(std::cell::Cell::new(false));
        let theirs = slept.clone();
        let sleeper = sward::spawn(move || {
            sward::patch::without(|| thread::sleep(ms(30)));
            theirs.set(true);
        });
        let other = sward::spawn(move || slept.get());
        assert!(other.join().unwrap(), "nobody else ran during `without`");
        sleeper.join().unwrap();
    });
}
