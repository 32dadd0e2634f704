//! Kill, timeout and fork: nothing unwinds through C, and a child is on its own.

mod support;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use libc::c_int;
use support::{ms, patched, takes};

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

fn read(fd: RawFd, buffer: &mut [u8]) -> isize {
    // SAFETY: the buffer's length.
    unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) }
}

#[test]
fn a_kill_fails_the_call_and_the_next_native_one_raises() {
    patched("a_kill_fails_the_call_and_the_next_native_one_raises", || {
        let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let theirs = seen.clone();
        let (a, b) = UnixStream::pair().unwrap();
        let g = sward::spawn(move || {
            let mut buffer = [0; 4];
            theirs.borrow_mut().push((read(b.as_raw_fd(), &mut buffer), errno()));
            theirs.borrow_mut().push((read(b.as_raw_fd(), &mut buffer), errno()));
            // SAFETY: takes a number only.
            let slept = unsafe { libc::sleep(100) };
            theirs.borrow_mut().push((slept as isize, 0));
            sward::sleep(ms(1));
            theirs.borrow_mut().push((9, 9));
        });
        sward::sleep(ms(5));
        g.kill();
        let error = g.join().unwrap_err();
        assert!(error.is_killed());
        assert_eq!(*seen.borrow(), [(-1, libc::ECANCELED), (-1, libc::ECANCELED), (0, 0)]);
        drop(a);
    });
}

#[test]
fn a_timeout_ends_patched_calls() {
    patched("a_timeout_ends_patched_calls", || {
        let g = sward::spawn(|| {
            sward::timeout(ms(30), || {
                let (mut a, _b) = UnixStream::pair().unwrap();
                let error = a.read(&mut [0; 1]).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                sward::yield_now();
            })
        });
        takes(ms(25), ms(500), || assert_eq!(g.join().unwrap(), Err(sward::Elapsed)));
    });
}

/// As the guide has it: std unwraps what it reads of a child.
#[test]
fn a_timeout_of_a_childs_output_is_a_panic_of_std() {
    patched("a_timeout_of_a_childs_output_is_a_panic_of_std", || {
        let limited = |theirs| {
            sward::spawn(move || {
                sward::timeout(ms(30), || match theirs {
                    true => std::process::Command::new("sleep").arg("0.2").output(),
                    false => sward::process::Command::new("sleep").arg("0.2").output(),
                })
            })
        };
        assert!(limited(true).join().unwrap_err().is_panic());
        assert_eq!(limited(false).join().unwrap().unwrap_err(), sward::Elapsed);
    });
}

#[test]
fn a_killed_greenlet_that_ignores_errors_does_not_starve_the_others() {
    patched("a_killed_greenlet_that_ignores_errors_does_not_starve_the_others", || {
        let stop = std::rc::Rc::new(std::cell::Cell::new(false));
        let theirs = stop.clone();
        let stubborn = sward::spawn(move || {
            let (a, _b) = UnixStream::pair().unwrap();
            while !theirs.get() {
                assert_eq!(read(a.as_raw_fd(), &mut [0; 1]), -1);
            }
        });
        sward::sleep(ms(1));
        stubborn.kill();
        sward::sleep(ms(20));
        stop.set(true);
        assert!(stubborn.join().is_ok());
    });
}

#[test]
fn a_forked_child_is_not_patched_and_leaves_the_parent_alone() {
    patched("a_forked_child_is_not_patched_and_leaves_the_parent_alone", || {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let waiting = sward::spawn(move || {
            let mut byte = [0];
            b.read_exact(&mut byte).unwrap();
            byte[0]
        });
        sward::yield_now();
        let status = sward::spawn(|| {
            // SAFETY: the child calls only what is allowed between fork and exec.
            unsafe {
                let pid = libc::fork();
                if pid == 0 {
                    libc::usleep(1000);
                    let (mut fds, mut byte) = ([0; 2], 0u8);
                    libc::pipe(fds.as_mut_ptr());
                    libc::write(fds[1], c"x".as_ptr().cast(), 1);
                    let n = libc::read(fds[0], (&raw mut byte).cast(), 1);
                    libc::close(fds[0]);
                    libc::_exit(if n == 1 && byte == b'x' { 7 } else { 1 });
                }
                let mut status = 0;
                assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
                status
            }
        })
        .join()
        .unwrap();
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
        a.write_all(&[42]).unwrap();
        assert_eq!(waiting.join().unwrap(), 42);
    });
}

#[test]
fn an_event_loop_on_epoll_is_not_interrupted_but_its_greenlet_is_killed_after_it() {
    patched("an_event_loop_on_epoll_is_not_interrupted_but_its_greenlet_is_killed_after_it", || {
        let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let theirs = seen.clone();
        let g = sward::spawn(move || {
            // SAFETY: takes a number only.
            let epoll = unsafe { libc::epoll_create1(0) };
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            for _ in 0..2 {
                let start = std::time::Instant::now();
                // SAFETY: room for one event.
                theirs.borrow_mut().push(unsafe { libc::epoll_wait(epoll, &raw mut event, 1, 30) });
                assert!(start.elapsed() >= ms(30), "it has waited, and not spun");
            }
            // SAFETY: opened above.
            unsafe { libc::close(epoll) };
            sward::yield_now();
            theirs.borrow_mut().push(9);
        });
        sward::sleep(ms(5));
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert_eq!(*seen.borrow(), [0, 0]);
    });
}
