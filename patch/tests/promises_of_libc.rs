//! The C functions, called as a C library calls them.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::time::Instant;

use libc::c_int;
use support::{greenlets, ms, patched, slow, takes};

/// A pipe: where to read, where to write.
fn pipe() -> (OwnedFd, OwnedFd) {
    let mut fds = [0; 2];
    // SAFETY: room for two, which are then ours.
    unsafe {
        assert_eq!(libc::pipe(fds.as_mut_ptr()), 0);
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    }
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

fn read(fd: RawFd, buffer: &mut [u8]) -> isize {
    // SAFETY: the buffer's length.
    unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) }
}

fn write(fd: RawFd, data: &[u8]) -> isize {
    // SAFETY: the data's length.
    unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) }
}

fn flags(fd: RawFd) -> c_int {
    // SAFETY: takes numbers only.
    unsafe { libc::fcntl(fd, libc::F_GETFL) }
}

#[test]
fn pipes_park_readers_and_writers() {
    patched("pipes_park_readers_and_writers", || {
        let (from, to) = pipe();
        let writer = sward::spawn(move || write(to.as_raw_fd(), &vec![5; 1 << 20]));
        let reader = sward::spawn(move || {
            let (mut all, mut buffer) = (0, [0; 10_000]);
            loop {
                let n = read(from.as_raw_fd(), &mut buffer);
                assert!(n >= 0);
                if n == 0 {
                    return all;
                }
                all += n;
            }
        });
        assert_eq!(reader.join().unwrap(), 1 << 20);
        assert_eq!(writer.join().unwrap(), 1 << 20);
    });
}

#[test]
fn an_eventfd_parks_its_reader() {
    patched("an_eventfd_parks_its_reader", || {
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::eventfd(0, 0) };
        let reader = sward::spawn(move || {
            let mut count = [0; 8];
            assert_eq!(read(fd, &mut count), 8);
            u64::from_ne_bytes(count)
        });
        sward::yield_now();
        assert!(!reader.is_finished());
        let writer = sward::spawn(move || write(fd, &3u64.to_ne_bytes()));
        assert_eq!(writer.join().unwrap(), 8);
        assert_eq!(reader.join().unwrap(), 3);
    });
}

#[test]
fn wait_all_waits_for_all_of_a_stream() {
    patched("wait_all_waits_for_all_of_a_stream", || {
        let (a, b) = UnixStream::pair().unwrap();
        let reader = sward::spawn(move || {
            let mut buffer = [0u8; 8];
            // SAFETY: the buffer's length.
            let n = unsafe { libc::recv(b.as_raw_fd(), buffer.as_mut_ptr().cast(), 8, libc::MSG_WAITALL) };
            (n, buffer)
        });
        for half in [b"abcd", b"efgh"] {
            (&a).write_all(half).unwrap();
            sward::sleep(ms(5));
        }
        assert_eq!(reader.join().unwrap(), (8, *b"abcdefgh"));
    });
}

#[test]
fn poll_and_select_and_epoll_wait_park_until_something_happens() {
    patched("poll_and_select_and_epoll_wait_park_until_something_happens", || {
        let (from, to) = pipe();
        let (fd, to) = (from.as_raw_fd(), to.into_raw_fd());
        let poll = sward::spawn(move || {
            let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry.
            let found = unsafe { libc::poll(&raw mut entry, 1, -1) };
            (found, entry.revents)
        });
        let select = sward::spawn(move || {
            // SAFETY: a set is plain words, and `fd` fits in it.
            unsafe {
                let mut set: libc::fd_set = std::mem::zeroed();
                libc::FD_SET(fd, &raw mut set);
                let mut limit = libc::timeval { tv_sec: 5, tv_usec: 0 };
                let found = libc::select(fd + 1, &raw mut set, ptr::null_mut(), ptr::null_mut(), &raw mut limit);
                (found, libc::FD_ISSET(fd, &raw const set), limit.tv_sec < 5)
            }
        });
        let epoll = sward::spawn(move || {
            // SAFETY: live arguments.
            unsafe {
                let epoll = OwnedFd::from_raw_fd(libc::epoll_create1(0));
                let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 7 };
                libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event);
                event.u64 = 0;
                (libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, 5000), { event.u64 })
            }
        });
        let both = sward::spawn(move || {
            let one = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            let mut entries = [libc::pollfd { fd: -1, ..one }, one, one];
            let limit = libc::timespec { tv_sec: 5, tv_nsec: 0 };
            // SAFETY: three entries.
            unsafe { libc::ppoll(entries.as_mut_ptr(), 3, &raw const limit, ptr::null()) }
        });
        sward::sleep(ms(20));
        assert!(!poll.is_finished() && !select.is_finished() && !epoll.is_finished() && !both.is_finished());
        assert_eq!(write(to, b"x"), 1);
        assert_eq!(poll.join().unwrap(), (1, libc::POLLIN));
        assert_eq!(select.join().unwrap(), (1, true, true));
        assert_eq!(epoll.join().unwrap(), (1, 7));
        assert_eq!(both.join().unwrap(), 2);
        drop(from);
    });
}

#[test]
fn limits_are_kept_and_never_early() {
    patched("limits_are_kept_and_never_early", || {
        takes(ms(100), ms(600), || {
            greenlets(20, |number| {
                let (from, _to) = pipe();
                let fd = from.as_raw_fd();
                let start = Instant::now();
                // SAFETY: live arguments.
                unsafe {
                    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
                    match number % 4 {
                        0 => assert_eq!(libc::poll(&raw mut entry, 1, 100), 0),
                        1 => assert_eq!(libc::poll(ptr::null_mut(), 0, 100), 0),
                        2 => assert_eq!(libc::usleep(100_000), 0),
                        _ => {
                            let mut limit = libc::timeval { tv_sec: 0, tv_usec: 100_000 };
                            let none = ptr::null_mut();
                            assert_eq!(libc::select(0, none, none, none, &raw mut limit), 0);
                        }
                    }
                }
                assert!(start.elapsed() >= ms(100));
            })
        });
    });
}

#[test]
fn a_call_with_a_signal_mask_parks_too() {
    patched("a_call_with_a_signal_mask_parks_too", || {
        let (from, to) = pipe();
        let waiter = sward::spawn(move || {
            let mut entry = libc::pollfd { fd: from.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: live arguments.
            unsafe {
                let mut mask: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut mask);
                libc::ppoll(&raw mut entry, 1, ptr::null(), &raw const mask)
            }
        });
        sward::sleep(ms(30));
        assert!(!waiter.is_finished());
        write(to.as_raw_fd(), b"x");
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

#[test]
fn invalid_arguments_fail_as_ever() {
    patched("invalid_arguments_fail_as_ever", || {
        sward::spawn(|| {
            assert_eq!((read(-1, &mut [0; 4]), errno()), (-1, libc::EBADF));
            assert_eq!((write(9999, &[0; 4]), errno()), (-1, libc::EBADF));
            let bad = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000_000 };
            // SAFETY: live arguments.
            unsafe {
                assert_eq!((libc::nanosleep(&raw const bad, ptr::null_mut()), errno()), (-1, libc::EINVAL));
                let monotonic = libc::CLOCK_MONOTONIC;
                assert_eq!(libc::clock_nanosleep(monotonic, 0, &raw const bad, ptr::null_mut()), libc::EINVAL);
                assert_eq!((libc::waitpid(-1, ptr::null_mut(), 0), errno()), (-1, libc::ECHILD));
            }
            let mut file = std::fs::File::open("/proc/self/comm").unwrap();
            assert!(file.read(&mut [0; 4]).unwrap() > 0, "files are read in place");
        })
        .join()
        .unwrap();
    });
}

#[test]
fn flags_of_a_descriptor_are_the_same_during_a_wait() {
    patched("flags_of_a_descriptor_are_the_same_during_a_wait", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (fd, address) = (listener.as_raw_fd(), listener.local_addr().unwrap());
        let before = flags(fd);
        let acceptor = sward::spawn(move || listener.accept().unwrap().0);
        sward::sleep(ms(5));
        assert_eq!(flags(fd), before);
        let client = sward::spawn(move || TcpStream::connect(address).unwrap()).join().unwrap();
        let server = acceptor.join().unwrap();
        for stream in [client, server] {
            assert_eq!(flags(stream.as_raw_fd()) & libc::O_NONBLOCK, 0);
        }
    });
}

#[test]
fn a_descriptor_of_sward_net_can_be_polled_too() {
    patched("a_descriptor_of_sward_net_can_be_polled_too", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = sward::net::TcpStream::from(listener.accept().unwrap().0);
        let fd = server.as_raw_fd();
        let native = sward::spawn(move || {
            let mut bytes = [0; 2];
            server.read_exact(&mut bytes).unwrap();
            (bytes, server)
        });
        sward::sleep(ms(2));
        let polling = sward::spawn(move || {
            let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry.
            unsafe { libc::poll(&raw mut entry, 1, 5000) }
        });
        sward::sleep(ms(2));
        assert!(!polling.is_finished());
        client.write_all(b"ab").unwrap();
        assert_eq!(polling.join().unwrap(), 1);
        assert_eq!(&native.join().unwrap().0, b"ab");
    });
}

#[test]
fn messages_carry_descriptors_and_many_at_once() {
    patched("messages_carry_descriptors_and_many_at_once", || {
        let (a, b) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let receiver = sward::spawn(move || {
            let mut buffers = [[0u8; 4]; 3];
            let mut parts =
                buffers.each_mut().map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: 4 });
            // SAFETY: all zeros are empty messages; the parts outlive the call.
            unsafe {
                let mut messages: [libc::mmsghdr; 3] = std::mem::zeroed();
                for (message, part) in messages.iter_mut().zip(&mut parts) {
                    message.msg_hdr.msg_iov = part;
                    message.msg_hdr.msg_iovlen = 1;
                }
                let got = libc::recvmmsg(b.as_raw_fd(), messages.as_mut_ptr(), 3, 0, ptr::null_mut());
                (got, messages.map(|message| message.msg_len), buffers)
            }
        });
        for text in ["a", "bc", "def"] {
            sward::sleep(ms(2));
            a.send(text.as_bytes()).unwrap();
        }
        let (got, lengths, buffers) = receiver.join().unwrap();
        assert_eq!((got, lengths), (3, [1, 2, 3]));
        assert_eq!(&buffers[2][..3], b"def");
    });
}

#[test]
fn a_file_lock_is_waited_for_in_parallel() {
    patched("a_file_lock_is_waited_for_in_parallel", || {
        let path = std::env::temp_dir().join(format!("sward-flock-{}", std::process::id()));
        let name = path.clone();
        let order = greenlets(3, move |_| {
            let file = std::fs::File::create(&name).unwrap();
            // SAFETY: takes numbers only.
            assert_eq!(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }, 0);
            let start = Instant::now();
            std::thread::sleep(ms(20));
            (start, Instant::now())
        });
        let mut order = order;
        order.sort();
        assert!(order.windows(2).all(|two| two[0].1 <= two[1].0), "one at a time");
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn counts_and_report_tell_what_happened() {
    patched("counts_and_report_tell_what_happened", || {
        // SAFETY: as everywhere in these tests.
        let report = unsafe { sward::patch::all() };
        assert!(report.functions().contains(&"recv") && report.functions().contains(&"waitid"));
        let is_static = cfg!(target_feature = "crt-static");
        assert_eq!(report.missing().is_empty(), !is_static, "{report}");
        assert_eq!(report.thread_identity(), cfg!(target_arch = "x86_64") && !is_static, "{report}");
        assert_eq!(report.objects()[0].coverage, sward::patch::Coverage::Resolved, "{report}");
        let before = sward::patch::stats().of("recv");
        sward::spawn(|| {
            let (mut a, mut b) = UnixStream::pair().unwrap();
            let writer = sward::spawn(move || a.write_all(b"x").unwrap());
            b.read_exact(&mut [0; 1]).unwrap();
            writer.join().unwrap();
        })
        .join()
        .unwrap();
        let after = sward::patch::stats();
        let calls = after.of("read").calls + after.of("recv").calls;
        assert!(calls > before.calls, "{after}");
    });
}

#[test]
fn outside_greenlets_calls_block_the_thread() {
    patched("outside_greenlets_calls_block_the_thread", || {
        let g = sward::spawn(|| ());
        takes(ms(20), ms(if slow() { 5000 } else { 500 }), || std::thread::sleep(ms(20)));
        assert!(!g.is_finished(), "the root's sleep is the thread's");
        g.join().unwrap();
    });
}
