//! What `wait_readable` and `wait_writable` promise.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::inotify;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use support::{ms, watched};
use sward::net::{UnixStream, wait_readable, wait_writable};
use sward::{scope, spawn, yield_now};

#[test]
fn a_blocking_pipe_becomes_green() {
    watched(|| {
        let (mut reader, mut writer) = std::io::pipe()?;
        let got = spawn(move || -> std::io::Result<Vec<u8>> {
            let mut all = Vec::new();
            let mut byte = [0];
            loop {
                wait_readable(&reader, None)?;
                if reader.read(&mut byte)? == 0 {
                    return Ok(all);
                }
                all.push(byte[0]);
            }
        });
        for i in 0..100 {
            writer.write_all(&[i, i + 100])?;
            yield_now();
        }
        wait_writable(&writer, Some(ms(1000)))?;
        drop(writer);
        let got = got.join().unwrap()?;
        assert_eq!(got.len(), 200);
        assert_eq!(&got[..4], [0, 100, 1, 101]);
        Ok(())
    });
}

#[test]
fn it_tells_the_level_and_not_the_edge() {
    watched(|| {
        let (reader, mut writer) = std::io::pipe()?;
        writer.write_all(b"x")?;
        for _ in 0..3 {
            wait_readable(&reader, Some(ms(1000)))?; // nobody reads: still readable
        }
        Ok(())
    });
}

#[test]
fn who_never_has_to_wait_lets_others_run_all_the_same() {
    watched(|| {
        let (_reader, writer) = std::io::pipe()?;
        let other = spawn(|| ());
        let mut calls = 0;
        while !other.is_finished() {
            wait_writable(&writer, None)?;
            calls += 1;
        }
        assert_eq!(calls, 129);
        Ok(())
    });
}

#[test]
fn eventfds_timerfds_and_epolls_can_be_waited_for() {
    watched(|| {
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        assert_eq!(wait_readable(&event, Some(ms(2))).unwrap_err().kind(), ErrorKind::TimedOut);
        scope(|s| {
            let waiter = s.spawn(|| wait_readable(&event, None));
            yield_now();
            rustix::io::write(&event, &1_u64.to_ne_bytes()).unwrap();
            waiter.join().unwrap()
        })?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let in_5_ms = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: 0, tv_nsec: 5_000_000 },
        };
        let start = Instant::now();
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &in_5_ms)?;
        let inner = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&inner, &timer, epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
        wait_readable(&inner, None)?;
        assert!(start.elapsed() >= ms(5));
        wait_readable(&timer, Some(ms(1000)))?;
        Ok(())
    });
}

#[test]
fn inotify_and_terminals_can_be_waited_for() {
    watched(|| {
        let folder = std::env::temp_dir().join(format!("sward-inotify-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&watch, &folder, inotify::WatchFlags::CREATE)?;
        assert_eq!(wait_readable(&watch, Some(ms(2))).unwrap_err().kind(), ErrorKind::TimedOut);
        scope(|s| {
            let waiter = s.spawn(|| wait_readable(&watch, None));
            yield_now();
            std::fs::write(folder.join("new"), "").unwrap();
            waiter.join().unwrap()
        })?;
        std::fs::remove_dir_all(&folder)?;

        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?.into_string().map_err(std::io::Error::other)?;
        let mut terminal = std::fs::File::options().read(true).write(true).open(name)?;
        wait_writable(&terminal, Some(ms(1000)))?;
        assert_eq!(wait_readable(&terminal, Some(ms(2))).unwrap_err().kind(), ErrorKind::TimedOut);
        scope(|s| {
            let waiter = s.spawn(|| wait_readable(&terminal, None));
            yield_now();
            rustix::io::write(&ours, b"typed\n").unwrap();
            waiter.join().unwrap()
        })?;
        assert_eq!(terminal.read(&mut [0; 16])?, 6);
        Ok(())
    });
}

#[test]
fn regular_files_are_refused_with_a_clear_error() {
    watched(|| {
        let file = std::fs::File::open("Cargo.toml")?;
        let error = wait_readable(&file, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("regular files"), "{error}");
        Ok(())
    });
}

#[test]
fn a_registered_socket_and_a_second_waiter_are_fine() {
    watched(|| {
        let (a, mut b) = UnixStream::pair()?;
        scope(|s| {
            let reader = s.spawn(|| (&a).read(&mut [0; 1]));
            let waiters = [(); 3].map(|()| s.spawn(|| wait_readable(&a, None)));
            yield_now();
            b.write_all(b"xy")?;
            assert_eq!(reader.join().unwrap()?, 1);
            for waiter in waiters {
                waiter.join().unwrap()?;
            }
            Ok(())
        })
    });
}

#[test]
fn the_other_side_gone_counts_as_readable() {
    watched(|| {
        let (reader, writer) = std::io::pipe()?;
        let waiter = spawn(move || wait_readable(OwnedFd::from(reader), None));
        yield_now();
        drop(writer);
        waiter.join().unwrap()
    });
}
