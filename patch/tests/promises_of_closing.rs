//! Descriptors that are closed while greenlets wait for them.

mod support;

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use libc::c_int;
use support::{ms, patched};

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

#[test]
fn closing_wakes_who_waits_with_ebadf() {
    patched("closing_wakes_who_waits_with_ebadf", || {
        for how in 0..4 {
            let (a, _b) = UnixStream::pair().unwrap();
            let fd = a.into_raw_fd();
            let reader = sward::spawn(move || (read(fd, &mut [0; 1]), errno()));
            sward::sleep(ms(5));
            let (spare, _keep) = pipe();
            // SAFETY: the test's own descriptor.
            unsafe {
                match how {
                    0 => assert_eq!(libc::close(fd), 0),
                    1 => assert_eq!(libc::dup2(spare.as_raw_fd(), fd), fd),
                    2 => assert_eq!(libc::dup3(spare.as_raw_fd(), fd, libc::O_CLOEXEC), fd),
                    _ => assert_eq!(libc::close_range(fd as u32, fd as u32, 0), 0),
                }
            }
            assert_eq!(reader.join().unwrap(), (-1, libc::EBADF), "{how}");
            if matches!(how, 1 | 2) {
                // SAFETY: as above.
                unsafe { libc::close(fd) };
            }
        }
    });
}

#[test]
fn a_poll_hears_that_its_descriptor_was_closed() {
    patched("a_poll_hears_that_its_descriptor_was_closed", || {
        let (a, _b) = UnixStream::pair().unwrap();
        let fd = a.into_raw_fd();
        let poller = sward::spawn(move || {
            let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry.
            (unsafe { libc::poll(&raw mut entry, 1, -1) }, entry.revents)
        });
        sward::sleep(ms(5));
        // SAFETY: the test's own descriptor.
        unsafe { libc::close(fd) };
        assert_eq!(poller.join().unwrap(), (1, libc::POLLNVAL));
    });
}

#[test]
fn a_number_that_fclose_freed_can_be_waited_for_again() {
    patched("a_number_that_fclose_freed_can_be_waited_for_again", || {
        sward::spawn(|| {
            for round in 0..10u8 {
                let (a, b) = UnixStream::pair().unwrap();
                let fd = a.into_raw_fd();
                let writer = sward::spawn(move || {
                    sward::sleep(ms(2));
                    (&b).write_all(&[round]).unwrap();
                });
                let mut byte = [0];
                assert_eq!((read(fd, &mut byte), byte[0]), (1, round));
                writer.join().unwrap();
                // SAFETY: the stream owns the number, and closes it inside libc, unseen.
                unsafe {
                    let file = libc::fdopen(fd, c"r".as_ptr());
                    assert!(!file.is_null());
                    libc::fclose(file);
                }
            }
        })
        .join()
        .unwrap();
    });
}

#[test]
fn a_hang_up_reaches_who_asked_for_nothing_else() {
    patched("a_hang_up_reaches_who_asked_for_nothing_else", || {
        let (a, b) = UnixStream::pair().unwrap();
        let fd = a.as_raw_fd();
        let poller = sward::spawn(move || {
            let mut entry = libc::pollfd { fd, events: 0, revents: 0 };
            // SAFETY: one entry.
            (unsafe { libc::poll(&raw mut entry, 1, -1) }, entry.revents)
        });
        let reader = sward::spawn(move || read(fd, &mut [0; 1]));
        sward::sleep(ms(2));
        (&b).write_all(b"x").unwrap();
        assert_eq!(reader.join().unwrap(), 1);
        assert!(!poller.is_finished());
        drop(b);
        assert_eq!(poller.join().unwrap(), (1, libc::POLLHUP));
        drop(a);
    });
}

#[test]
fn what_a_vforked_child_closes_stays_open_here() {
    patched("what_a_vforked_child_closes_stays_open_here", || {
        let (a, b) = UnixStream::pair().unwrap();
        let fd = a.as_raw_fd();
        let reader = sward::spawn(move || (read(fd, &mut [0; 1]), a));
        sward::sleep(ms(2));
        #[expect(deprecated, reason = "C programs still use it")]
        // SAFETY: the child closes a descriptor of its own and ends.
        let child = unsafe {
            let child = libc::vfork();
            if child == 0 {
                libc::close(fd);
                libc::_exit(0);
            }
            child
        };
        // SAFETY: takes a number only.
        assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
        sward::sleep(ms(2));
        assert!(!reader.is_finished());
        (&b).write_all(b"x").unwrap();
        assert_eq!(reader.join().unwrap().0, 1);
    });
}
