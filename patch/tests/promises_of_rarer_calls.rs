//! What fewer programs do with libc's calls: arguments at the edge, a second try, clocks, options.

mod support;

use std::cell::Cell;
use std::mem::zeroed;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::ptr::{null, null_mut};
use std::time::Instant;

use libc::{c_int, timespec};
use support::{greenlets, ms, patched, slow, takes};

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

/// Runs `f` in a greenlet.
#[track_caller]
fn patched_greenlet(name: &'static str, f: impl FnOnce() + Send + 'static) {
    patched(name, || sward::spawn(f).join().unwrap());
}

fn connect(fd: RawFd, to: SocketAddr) -> c_int {
    let SocketAddr::V4(to) = to else { unreachable!("the tests' are of IPv4") };
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: a live address of this length.
    unsafe { libc::connect(fd, (&raw const address).cast(), size_of_val(&address) as u32) }
}

#[test]
fn after_a_refusal_the_same_socket_may_connect() {
    patched_greenlet("after_a_refusal_the_same_socket_may_connect", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // SAFETY: a new descriptor, which is then ours.
        let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
        let fd = socket.as_raw_fd();
        for _ in 0..2 {
            assert_eq!((connect(fd, nowhere), errno()), (-1, libc::ECONNREFUSED));
        }
        assert_eq!(connect(fd, there), 0);
        assert_eq!((connect(fd, there), errno()), (-1, libc::EISCONN));
        listener.accept().unwrap();
    });
}

#[test]
fn accept_fails_at_once_where_nobody_can_come() {
    patched_greenlet("accept_fails_at_once_where_nobody_can_come", || {
        // SAFETY: without a place for an address.
        let accept = |fd| (unsafe { libc::accept(fd, null_mut(), null_mut()) }, errno());
        let (stream, _other) = UnixStream::pair().unwrap();
        assert_eq!(accept(stream.as_raw_fd()), (-1, libc::EINVAL));
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(accept(datagrams.as_raw_fd()), (-1, libc::EOPNOTSUPP));
        assert_eq!(accept(std::fs::File::open("/dev/null").unwrap().as_raw_fd()), (-1, libc::ENOTSOCK));
    });
}

#[test]
fn select_touches_no_more_of_a_set_than_the_kernel_does() {
    const WORDS: usize = 1 << 14;
    patched("select_touches_no_more_of_a_set_than_the_kernel_does", || {
        let (stream, other) = UnixStream::pair().unwrap();
        let fd = stream.as_raw_fd() as usize;
        let memory: &'static [Cell<u64>] = vec![Cell::new(0); WORDS].leak();
        let selecting = sward::spawn(move || {
            memory[fd / 64].set(1 << (fd % 64));
            // SAFETY: the set is as large as `count` says, which is what a program promises that says less.
            unsafe {
                let set = memory.as_ptr().cast_mut().cast();
                libc::select(64 * WORDS as c_int, set, null_mut(), null_mut(), null_mut())
            }
        });
        sward::sleep(ms(5));
        assert!(!selecting.is_finished());
        // Somebody else's memory, as far as the kernel is concerned: there are no such descriptors.
        memory[WORDS - 1].set(7);
        std::io::Write::write_all(&mut &other, b"x").unwrap();
        assert_eq!(selecting.join().unwrap(), 1);
        assert_eq!((memory[fd / 64].get(), memory[WORDS - 1].get()), (1 << (fd % 64), 7));
        drop(stream);
    });
}

#[test]
fn sleeps_by_any_clock_run_side_by_side() {
    patched("sleeps_by_any_clock_run_side_by_side", || {
        takes(ms(100), ms(600), || {
            greenlets(20, |number| {
                let clock = [libc::CLOCK_BOOTTIME, libc::CLOCK_TAI][number % 2];
                let start = Instant::now();
                // SAFETY: live times.
                unsafe {
                    let mut time = timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                    let mut flags = 0;
                    if number % 4 < 2 {
                        libc::clock_gettime(clock, &raw mut time);
                        time.tv_nsec += 100_000_000;
                        time.tv_sec += time.tv_nsec / 1_000_000_000;
                        time.tv_nsec %= 1_000_000_000;
                        flags = libc::TIMER_ABSTIME;
                    }
                    assert_eq!(libc::clock_nanosleep(clock, flags, &raw const time, null_mut()), 0);
                }
                assert!(start.elapsed() >= ms(99));
            })
        });
    });
}

#[test]
fn a_child_may_be_looked_at_and_left() {
    patched_greenlet("a_child_may_be_looked_at_and_left", || {
        let mut child = Command::new("sh").args(["-c", "sleep 0.1; exit 7"]).spawn().unwrap();
        let pid = child.id();
        // SAFETY: all zeros is a siginfo; then it is the kernel's.
        let look = |options| unsafe {
            let mut info: libc::siginfo_t = zeroed();
            let result = libc::waitid(libc::P_PID, pid, &raw mut info, options);
            (result, info.si_pid(), info.si_status())
        };
        assert_eq!(look(libc::WEXITED | libc::WNOHANG), (0, 0, 0));
        let ticker = sward::spawn(|| sward::sleep(ms(10)));
        for _ in 0..2 {
            assert_eq!(look(libc::WEXITED | libc::WNOWAIT), (0, pid as c_int, 7));
        }
        assert!(ticker.is_finished(), "others have run");
        assert_eq!(look(libc::WEXITED), (0, pid as c_int, 7));
        assert_eq!((look(libc::WEXITED).0, errno()), (-1, libc::ECHILD));
        assert!(child.wait().is_err(), "it was waited for");
    });
}

#[test]
fn a_range_that_is_to_be_closed_on_exec_wakes_nobody() {
    patched("a_range_that_is_to_be_closed_on_exec_wakes_nobody", || {
        let (stream, other) = UnixStream::pair().unwrap();
        let fd = stream.into_raw_fd();
        let reader = sward::spawn(move || {
            // SAFETY: room for one byte.
            (unsafe { libc::read(fd, [0_u8; 1].as_mut_ptr().cast(), 1) }, errno())
        });
        sward::sleep(ms(5));
        let range = |flags| {
            // SAFETY: the test's own descriptor.
            assert_eq!(unsafe { libc::close_range(fd as u32, fd as u32, flags) }, 0);
            sward::sleep(ms(5));
        };
        range(libc::CLOSE_RANGE_CLOEXEC as c_int);
        assert!(!reader.is_finished());
        range(0);
        assert_eq!(reader.join().unwrap(), (-1, libc::EBADF));
        drop(other);
    });
}

#[test]
fn an_epoll_may_be_waited_for_by_nanoseconds() {
    patched_greenlet("an_epoll_may_be_waited_for_by_nanoseconds", || {
        // SAFETY: a new descriptor, which is then ours; live arguments.
        unsafe {
            let epoll = OwnedFd::from_raw_fd(libc::epoll_create1(0));
            let mut event: libc::epoll_event = zeroed();
            let mut wait =
                |limit: timespec| libc::epoll_pwait2(epoll.as_raw_fd(), &raw mut event, 1, &raw const limit, null());
            let begun = Instant::now();
            assert_eq!(wait(timespec { tv_sec: 0, tv_nsec: 3_500_000 }), 0);
            assert!(begun.elapsed() >= std::time::Duration::from_nanos(3_500_000));
            assert!(slow() || begun.elapsed() < ms(500));
            assert_eq!((wait(timespec { tv_sec: 0, tv_nsec: -1 }), errno()), (-1, libc::EINVAL));
        }
    });
}

/// Sets a time limit of 40 ms.
fn limit(fd: &impl AsRawFd, option: c_int) {
    let limit = libc::timeval { tv_sec: 0, tv_usec: 40_000 };
    // SAFETY: a live value of this length.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const limit).cast(),
            size_of_val(&limit) as u32,
        )
    };
    assert_eq!(result, 0);
}

/// What calls say, each on a socket with a time limit that passes: what they return, and the error if they fail.
fn results_of_limits() -> Vec<(isize, c_int)> {
    let mut results = Vec::new();
    let mut note = |call: &mut dyn FnMut() -> isize| {
        let begun = Instant::now();
        let result = call();
        // How large a part went, the kernel knows.
        results.push((result.min(1), if result < 0 { errno() } else { 0 }));
        assert!(begun.elapsed() >= ms(40), "{:?} after {:?}", results.last(), begun.elapsed());
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    limit(&listener, libc::SO_RCVTIMEO);
    // SAFETY: without a place for an address.
    note(&mut || unsafe { libc::accept(listener.as_raw_fd(), null_mut(), null_mut()) } as isize);

    let (stream, _other) = UnixStream::pair().unwrap();
    limit(&stream, libc::SO_SNDTIMEO);
    limit(&stream, libc::SO_RCVTIMEO);
    let bytes = vec![0_u8; 4 << 20];
    // A part of them, and then nothing.
    for _ in 0..2 {
        // SAFETY: so many bytes.
        note(&mut || unsafe { libc::send(stream.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) });
    }
    let mut byte = [0_u8];
    // SAFETY: a place for one byte.
    note(&mut || unsafe { libc::recv(stream.as_raw_fd(), byte.as_mut_ptr().cast(), 1, 0) });

    // One connection waits to be accepted, and the next one for that.
    // SAFETY: a descriptor of ours.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let there = listener.local_addr().unwrap();
    let _first = TcpStream::connect(there).unwrap();
    // SAFETY: a new descriptor, which is then ours.
    let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
    limit(&socket, libc::SO_SNDTIMEO);
    note(&mut || connect(socket.as_raw_fd(), there) as isize);
    results
}

#[test]
fn limits_of_sockets_hold_for_accept_send_recv_and_connect() {
    patched("limits_of_sockets_hold_for_accept_send_recv_and_connect", || {
        let expected = std::thread::spawn(results_of_limits).join().unwrap();
        assert_eq!(expected.len(), 5);
        assert!(
            expected[1].0 == 1 && expected.iter().enumerate().all(|(at, (n, _))| at == 1 || *n == -1),
            "{expected:?}"
        );
        // All ten at once; one after the other they would take two seconds.
        takes(ms(200), ms(2000), || {
            let greenlets: Vec<_> = (0..10).map(|_| sward::spawn(results_of_limits)).collect();
            for greenlet in greenlets {
                assert_eq!(greenlet.join().unwrap(), expected);
            }
        });
    });
}
