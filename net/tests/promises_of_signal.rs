//! What `signal` promises. One test: a process has one set of signals.

mod support;

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use support::{ms, watched};
use sward::signal::{self, SIGCHLD, SIGHUP, SIGKILL, SIGSEGV, SIGUSR1, SIGUSR2};
use sward::{sleep, spawn, yield_now};

/// To this thread, which has handled it when this returns. One for the process any thread may handle, at any time.
fn raise(signal: i32) -> io::Result<()> {
    signal_hook::low_level::raise(signal)
}

#[test]
fn signals_are_waited_for() {
    watched(|| {
        // All who wait get it.
        let waiters = [(); 3].map(|()| spawn(|| signal::wait(&[SIGUSR1, SIGUSR2])));
        yield_now();
        raise(SIGUSR2)?;
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap()?, SIGUSR2);
        }
        // A wait that nothing else in this process could end is no deadlock.
        let raised_later = std::thread::spawn(|| {
            std::thread::sleep(ms(20));
            raise(SIGUSR1)
        });
        assert_eq!(signal::wait(&[SIGUSR1])?, SIGUSR1);
        raised_later.join().unwrap()?;
        // While nobody waits it is kept; several count as one.
        raise(SIGUSR1)?;
        raise(SIGUSR1)?;
        raise(SIGUSR2)?;
        assert_eq!(signal::wait(&[SIGUSR1, SIGUSR2])?, SIGUSR1);
        assert_eq!(signal::wait(&[SIGUSR1, SIGUSR2])?, SIGUSR2);
        assert_eq!(signal::wait_timeout(&[SIGUSR1], ms(5)).unwrap_err().kind(), ErrorKind::TimedOut);
        // Two at once: the second is kept, also if the waiter is killed.
        let waiter = spawn(|| signal::wait(&[SIGUSR1, SIGUSR2]));
        yield_now();
        raise(SIGUSR2)?;
        raise(SIGUSR1)?;
        assert_eq!(waiter.join().unwrap()?, SIGUSR1);
        assert_eq!(signal::wait(&[SIGUSR2])?, SIGUSR2);
        let waiter = spawn(|| signal::wait(&[SIGUSR1]));
        yield_now();
        waiter.kill();
        assert!(waiter.join().unwrap_err().is_killed());
        // `on` runs each time in a new greenlet.
        let count = Rc::new(Cell::new(0));
        let handler = signal::on(SIGHUP, {
            let count = count.clone();
            move || {
                sleep(ms(1)); // may block
                count.set(count.get() + 1);
            }
        })?;
        for i in 1..=3 {
            raise(SIGHUP)?;
            while count.get() < i {
                sleep(ms(1));
            }
        }
        handler.kill();
        // Another hub gets its own.
        let (other, mine) = (std::thread::spawn(|| signal::wait(&[SIGCHLD])), spawn(|| signal::wait(&[SIGCHLD])));
        sleep(ms(50));
        raise(SIGCHLD)?;
        assert_eq!((other.join().unwrap()?, mine.join().unwrap()?), (SIGCHLD, SIGCHLD));
        // Misuse.
        for bad in [&[][..], &[SIGKILL], &[SIGSEGV], &[12345]] {
            assert_eq!(signal::wait(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
        // Nobody waits: nothing registered can wake the hub, so a deadlock is seen.
        let stuck = std::panic::catch_unwind(|| sward::lowlevel::park(None));
        assert!(stuck.unwrap_err().downcast::<String>().unwrap().contains("deadlock"));
        Ok(())
    });
}
