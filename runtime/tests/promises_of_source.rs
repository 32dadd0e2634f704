//! `Source`: file descriptors that greenlets wait on.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::{FOREVER, Flag, Log, SHORT, watchdog};
use sward::lowlevel::{Direction, Source};

/// A source and its peer, both non-blocking.
fn pair() -> (Source<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (Source::new(ours), theirs)
}

/// Reads up to `N` bytes.
fn read<const N: usize>(source: &Source<UnixStream>, deadline: Option<Instant>) -> std::io::Result<Vec<u8>> {
    let mut buffer = [0; N];
    let count = source.read_with("test read", deadline, |mut stream| stream.read(&mut buffer))?;
    Ok(buffer[..count].to_vec())
}

#[test]
fn a_read_parks_until_there_is_data() {
    let _watchdog = watchdog();
    let (source, mut peer) = pair();
    let reader = sward::spawn(move || read::<8>(&source, None).unwrap());
    sward::yield_now();
    assert!(!reader.is_finished());
    peer.write_all(b"hello").unwrap();
    assert_eq!(reader.join().unwrap(), b"hello");
}

#[test]
fn a_write_parks_until_there_is_room() {
    let _watchdog = watchdog();
    let (source, mut peer) = pair();
    let bytes = vec![7; 4 << 20];
    let writer = sward::spawn(move || {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let count = source.write_with("test write", None, |mut stream| stream.write(rest)).unwrap();
            if count < rest.len() {
                source.used_up(Direction::Write);
            }
            rest = &rest[count..];
        }
    });
    sward::yield_now();
    assert!(!writer.is_finished());
    let (mut total, mut buffer) = (0, vec![0; 1 << 16]);
    while total < 4 << 20 {
        match peer.read(&mut buffer) {
            Ok(count) => total += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                sward::sleep(Duration::from_micros(100));
            }
        }
    }
    writer.join().unwrap();
}

#[test]
fn a_deadline_is_an_error_of_the_kind_timed_out_and_the_source_goes_on() {
    let _watchdog = watchdog();
    let (source, mut peer) = pair();
    for _ in 0..3 {
        let begin = Instant::now();
        assert_eq!(read::<8>(&source, Some(begin + SHORT)).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() >= SHORT);
    }
    peer.write_all(b"x").unwrap();
    assert_eq!(read::<8>(&source, Some(Instant::now() + FOREVER)).unwrap(), b"x");
}

#[test]
fn ready_data_beats_a_deadline_and_a_timeout_that_fall_due_in_the_same_turn() {
    let _watchdog = watchdog();
    for outer in [false, true] {
        let (source, mut peer) = pair();
        let reader = sward::spawn(move || {
            if outer {
                sward::timeout(support::patient(), || read::<8>(&source, None).unwrap())
            } else {
                Ok(read::<8>(&source, Some(Instant::now() + support::patient())).unwrap())
            }
        });
        sward::yield_now();
        // The thread is busy until both have come.
        std::thread::sleep(support::patient());
        peer.write_all(b"data").unwrap();
        std::thread::sleep(SHORT);
        assert_eq!(reader.join().unwrap(), Ok(b"data".to_vec()));
    }
}

#[test]
fn several_readers_take_turns_first_in_first_out() {
    let _watchdog = watchdog();
    let (log, (source, mut peer)) = (Log::new(), pair());
    let source = Rc::new(source);
    let readers: Vec<_> = (0..4)
        .map(|n| {
            let (log, source) = (log.clone(), source.clone());
            sward::spawn(move || {
                let byte = read::<1>(&source, None).unwrap();
                log.add(format_args!("{n}{}", byte[0] as char));
            })
        })
        .collect();
    sward::yield_now();
    peer.write_all(b"ab").unwrap();
    sward::sleep(SHORT);
    peer.write_all(b"cd").unwrap();
    sward::join_all(readers);
    assert_eq!(log.take(), "0a 1b 2c 3d");
}

#[test]
fn a_reader_that_comes_when_the_turn_was_handed_over_does_not_barge_in() {
    let _watchdog = watchdog();
    let (log, (source, mut peer)) = (Log::new(), pair());
    let (source, first_has_read) = (Rc::new(source), Flag::new());
    let spawn = |n: u8, after: Option<Flag>| {
        let (log, source, first_has_read) = (log.clone(), source.clone(), first_has_read.clone());
        sward::spawn(move || {
            // Always ready, so it runs between the hand-over and the second reader.
            while after.as_ref().is_some_and(|flag| !flag.is_raised()) {
                sward::yield_now();
            }
            let byte = read::<1>(&source, None).unwrap();
            first_has_read.raise();
            log.add(format_args!("{n}{}", byte[0] as char));
        })
    };
    let readers = [spawn(1, None), spawn(2, None), spawn(3, Some(first_has_read.clone()))];
    sward::yield_now();
    peer.write_all(b"abc").unwrap();
    sward::join_all(readers);
    assert_eq!(log.take(), "1a 2b 3c");
}

#[test]
fn a_killed_or_timed_out_reader_passes_its_turn_on() {
    let _watchdog = watchdog();
    let (source, mut peer) = pair();
    let source = Rc::new(source);
    let spawn = |deadline| {
        let source = source.clone();
        sward::spawn(move || read::<8>(&source, deadline))
    };
    let killed = spawn(None);
    let timed_out = spawn(Some(Instant::now() + SHORT));
    let last = spawn(None);
    sward::yield_now();
    killed.kill();
    assert!(killed.join().unwrap_err().is_killed());
    assert_eq!(timed_out.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    peer.write_all(b"x").unwrap();
    assert_eq!(last.join().unwrap().unwrap(), b"x");
    assert_eq!(Rc::strong_count(&source), 1);
}

#[test]
fn a_reader_and_a_writer_do_not_disturb_each_other() {
    let _watchdog = watchdog();
    let (source, mut peer) = pair();
    let source = Rc::new(source);
    let reading = source.clone();
    let reader = sward::spawn(move || read::<8>(&reading, None).unwrap());
    sward::yield_now();
    source.write_with("test write", None, |mut stream| stream.write(b"out")).unwrap();
    assert!(!reader.is_finished());
    let mut buffer = [0; 8];
    assert_eq!(peer.read(&mut buffer).unwrap(), 3);
    peer.write_all(b"in").unwrap();
    assert_eq!(reader.join().unwrap(), b"in");
}

#[test]
fn the_end_of_the_peer_ends_the_wait_and_is_seen_for_ever() {
    let _watchdog = watchdog();
    let (source, peer) = pair();
    let closer = sward::spawn(move || drop(peer));
    for _ in 0..3 {
        assert_eq!(read::<8>(&source, None).unwrap(), b"");
        source.used_up(Direction::Read);
    }
    closer.join().unwrap();
    let error = source.write_with("test write", None, |mut stream| stream.write(b"x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_short_read_followed_by_data_and_the_end_loses_neither() {
    let _watchdog = watchdog();
    let (source, mut peer) = pair();
    let writer = sward::spawn(move || {
        for part in ["one", "two", "three"] {
            sward::sleep(SHORT);
            peer.write_all(part.as_bytes()).unwrap();
        }
    });
    let mut all = Vec::new();
    loop {
        let part = read::<64>(&source, None).unwrap();
        if part.is_empty() {
            break;
        }
        all.extend(part);
        source.used_up(Direction::Read);
    }
    assert_eq!(all, b"onetwothree");
    writer.join().unwrap();
}

#[test]
fn wait_readable_and_wait_writable_return_when_it_is_so_and_not_before() {
    let _watchdog = watchdog();
    let (source, mut peer) = pair();
    let mut stream = source.get_ref();
    for _ in 0..3 {
        source.wait_writable(None).unwrap();
        let start = Instant::now();
        let error = source.wait_readable(Some(start + SHORT)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "also a source that is new");
        assert!(start.elapsed() >= SHORT);
        peer.write_all(b"xy").unwrap();
        for _ in 0..2 {
            source.wait_readable(Some(Instant::now())).unwrap();
            source.wait_readable(None).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 1, "what is left there needs no further event");
        }
        let sender = sward::spawn({
            let mut peer = peer.try_clone().unwrap();
            move || peer.write_all(b"z").unwrap()
        });
        source.wait_readable(None).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        sender.join().unwrap();
    }
    drop(peer);
    source.wait_readable(None).unwrap();
    source.wait_readable(None).unwrap();
}

#[test]
fn one_event_wakes_the_reader_whoever_waits_for_events_and_a_future() {
    let _watchdog = watchdog();
    let (source, mut peer) = pair();
    let source = Rc::new(source);
    let reading = source.clone();
    let reader = sward::spawn(move || read::<1>(&reading, None).unwrap());
    let waiters = [source.clone(), source.clone()].map(|source| sward::spawn(move || source.wait_readable(None)));
    let polling = source.clone();
    let future = sward::spawn(move || {
        let peek = |mut stream: &UnixStream| stream.read(&mut [0]);
        sward::block_on(std::future::poll_fn(|context| polling.poll_with(Direction::Read, context, peek)))
    });
    sward::yield_now();
    assert!(!reader.is_finished() && !future.is_finished() && waiters.iter().all(|waiter| !waiter.is_finished()));
    peer.write_all(b"ab").unwrap();
    assert_eq!(reader.join().unwrap().len(), 1);
    assert_eq!(future.join().unwrap().unwrap(), 1);
    for waiter in waiters {
        waiter.join().unwrap().unwrap();
    }
}

#[test]
fn a_regular_file_cannot_be_waited_on() {
    let _watchdog = watchdog();
    let path = std::env::temp_dir().join(format!("sward-regular-{}", std::process::id()));
    let source = Source::new(std::fs::File::create(&path).unwrap());
    assert_eq!(source.wait_readable(None).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(source.wait_writable(Some(Instant::now())).unwrap_err().kind(), ErrorKind::PermissionDenied);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_descriptor_number_used_again_is_a_new_source() {
    let _watchdog = watchdog();
    for n in 0..50_u8 {
        let (source, mut peer) = pair();
        let reader = sward::spawn(move || {
            let byte = read::<1>(&source, None).unwrap();
            (byte, source.into_inner().as_fd().try_clone_to_owned().is_ok())
        });
        sward::yield_now();
        peer.write_all(&[n]).unwrap();
        assert_eq!(reader.join().unwrap(), (vec![n], true));
    }
}

#[test]
fn interrupted_calls_are_tried_again_and_errors_are_passed_on() {
    let _watchdog = watchdog();
    let (source, _peer) = pair();
    let mut calls = 0;
    let value = source.read_with("test", None, |_| {
        calls += 1;
        if calls < 3 { Err(ErrorKind::Interrupted.into()) } else { Ok(calls) }
    });
    assert_eq!(value.unwrap(), 3);
    let error = source.read_with("test", None, |_| Err::<(), _>(ErrorKind::AddrInUse.into())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[test]
fn a_greenlet_that_makes_128_calls_in_a_row_lets_others_run_once() {
    let _watchdog = watchdog();
    let (source, _peer) = pair();
    let calls: [&dyn Fn() -> std::io::Result<()>; 2] =
        [&|| source.write_with("test", None, |_| Ok(())), &|| source.wait_writable(None)];
    for call in calls {
        let ran = Flag::new();
        let theirs = ran.clone();
        drop(sward::spawn(move || theirs.raise()));
        for n in 0..129 {
            assert!(!ran.is_raised(), "call {n}");
            call().unwrap();
        }
        assert!(ran.is_raised());
    }
}

#[test]
fn a_call_that_panics_passes_its_turn_on() {
    let _watchdog = watchdog();
    let (source, mut peer) = pair();
    let source = Rc::new(source);
    let (bad, good) = (source.clone(), source.clone());
    let broken = sward::spawn(move || {
        let mut calls = 0;
        let _ = bad.read_with("test", None, |mut stream| {
            calls += 1;
            assert!(calls < 2, "the second call");
            stream.read(&mut [0; 1])
        });
    });
    let reader = sward::spawn(move || read::<8>(&good, None).unwrap());
    sward::yield_now();
    peer.write_all(b"x").unwrap();
    assert!(broken.join().unwrap_err().is_panic());
    assert_eq!(reader.join().unwrap(), b"x");
}

#[test]
fn a_registered_source_is_no_deadlock() {
    let _watchdog = watchdog();
    let (source, mut peer) = pair();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(SHORT);
        peer.write_all(b"x").unwrap();
    });
    assert_eq!(read::<8>(&source, None).unwrap(), b"x");
    thread.join().unwrap();
}

#[test]
fn more_ready_sources_than_the_poller_reports_at_once_are_all_served() {
    let _watchdog = watchdog();
    let (readers, mut peers) = crowd(None);
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    assert!(sward::join_all(readers).into_iter().all(|result| result.unwrap()));
}

/// Greenlets that each wait for a byte, more than the poller reports at once, and the peers.
fn crowd(limit: Option<Duration>) -> (Vec<sward::Greenlet<bool>>, Vec<UnixStream>) {
    let start = |source: Source<UnixStream>| {
        let read = move || read::<8>(&source, None).unwrap() == b"x";
        sward::spawn(move || match limit {
            Some(limit) => sward::timeout(limit, read).unwrap_or(false),
            None => read(),
        })
    };
    let crowd = (0..400).map(|_| pair()).map(|(source, peer)| (start(source), peer)).unzip();
    sward::yield_now();
    crowd
}

#[test]
fn ready_data_beats_a_timeout_in_however_many_greenlets() {
    let _watchdog = watchdog();
    let (readers, mut peers) = crowd(Some(support::patient()));
    // The thread is busy until everything has come.
    std::thread::sleep(support::patient());
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    std::thread::sleep(SHORT);
    assert!(sward::join_all(readers).into_iter().all(|result| result.unwrap()));
}

#[test]
fn a_busy_hub_takes_all_events_in_one_turn() {
    let _watchdog = watchdog();
    let (readers, mut peers) = crowd(None);
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    let mut switches = 0;
    while !readers.iter().all(sward::Greenlet::is_finished) {
        sward::yield_now();
        switches += 1;
    }
    // A turn comes every 256 switches, or somewhat later once.
    assert!(switches < 400, "{switches}");
}
