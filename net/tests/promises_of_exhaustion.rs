//! What happens when file descriptors run out: in a process of its own, with a low limit.

mod support;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{ms, watched};
use sward::net::{Server, TcpListener, TcpStream};
use sward::{sleep, spawn};

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn a_server_without_descriptors_waits_and_goes_on_and_does_not_spin() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        spawn(move || server.serve(|stream, _| io::copy(&mut &stream, &mut &stream)));
        let stopped = Server::bind("127.0.0.1:0")?;
        let (stopped_addr, stop) = (stopped.local_addr()?, stopped.handle());
        let stopping = spawn(move || stopped.serve(|_, _| ()));
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut early = TcpStream::connect(addr)?;
        let mut late = TcpStream::connect(addr)?;
        // Everything is registered by now; what comes needs one descriptor each.
        early.write_all(b"x")?;
        early.read_exact(&mut [0])?;
        late.write_all(b"x")?;
        late.read_exact(&mut [0])?;
        let waiting = TcpStream::connect(listener.local_addr()?)?;
        let mut refused = TcpStream::connect(addr)?;
        let unheard = std::net::TcpStream::connect(stopped_addr)?; // without a switch: nobody has accepted it
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum })?;
        // std's error, at once.
        assert_eq!(listener.accept().unwrap_err().raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
        refused.write_all(b"y")?;
        refused.set_read_timeout(Some(ms(150)))?;
        let (start, cpu) = (Instant::now(), cpu_time());
        assert_eq!(refused.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let spent = cpu_time() - cpu;
        assert!(spent < ms(40), "{spent:?} of processor in {:?}: it spins", start.elapsed());
        // A server that backs off can be stopped.
        let start = Instant::now();
        stop.stop();
        stopping.join().unwrap()?;
        assert!(start.elapsed() < ms(5000), "stopped after {:?}", start.elapsed());
        drop(unheard);
        // Connections that are there go on.
        early.write_all(b"z")?;
        early.read_exact(&mut [0])?;
        setrlimit(Resource::Nofile, before)?;
        refused.set_read_timeout(Some(ms(5000)))?;
        refused.read_exact(&mut [0])?;
        listener.accept()?;
        drop((early, late, refused, waiting));
        sleep(ms(1));
        handle.stop();
        Ok(())
    });
}
