//! What `net::Server` promises.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use support::{ms, watched};
use sward::net::{Server, TcpStream, UnixStream};
use sward::{sleep, spawn, yield_now};

#[test]
fn it_serves_many_at_once_and_stops() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        let serving = spawn(move || server.serve(|stream, _peer| io::copy(&mut &stream, &mut &stream)));
        let clients: Vec<_> = (0..100_u32)
            .map(|i| {
                spawn(move || -> io::Result<()> {
                    let mut stream = TcpStream::connect(addr)?;
                    for j in 0..20 {
                        stream.write_all(&(i * j).to_le_bytes())?;
                        let mut buf = [0; 4];
                        stream.read_exact(&mut buf)?;
                        assert_eq!(u32::from_le_bytes(buf), i * j);
                    }
                    Ok(())
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap()?;
        }
        handle.stop();
        assert!(handle.is_stopped());
        assert!(TcpStream::connect(addr).is_err());
        serving.join().unwrap()?;
        handle.stop(); // again is fine
        // The same port again, at once.
        let again = Server::bind(addr)?;
        let handle = again.handle();
        let serving = spawn(move || again.serve(|mut stream, _| stream.write_all(b"x")));
        assert_eq!(TcpStream::connect(addr)?.read(&mut [0; 8])?, 1);
        handle.stop();
        serving.join().unwrap()
    });
}

#[test]
fn the_pool_limits_and_does_not_spin() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?.pool(2);
        let (addr, handle) = (server.local_addr()?, server.handle());
        let (now, most, all) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        spawn({
            let (now, most, all) = (now.clone(), most.clone(), all.clone());
            move || {
                server.serve(move |mut stream, _| {
                    now.set(now.get() + 1);
                    most.set(most.get().max(now.get()));
                    all.set(all.get() + 1);
                    let _ = stream.read(&mut [0; 1]);
                    now.set(now.get() - 1);
                })
            }
        });
        let clients: Vec<_> = (0..10).map(|_| TcpStream::connect(addr)).collect::<Result<_, _>>()?;
        while now.get() < 2 {
            sleep(ms(1));
        }
        let cpu = cpu_time();
        sleep(ms(150));
        assert!(cpu_time() - cpu < ms(40), "a full pool spins: {:?}", cpu_time() - cpu);
        for mut client in clients {
            client.write_all(b"x")?;
            client.read_to_end(&mut Vec::new())?;
        }
        assert_eq!((most.get(), all.get()), (2, 10));
        handle.stop();
        Ok(())
    });
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn a_panic_closes_one_connection() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?.pool(1);
        let (addr, handle) = (server.local_addr()?, server.handle());
        spawn(move || {
            server.serve(|mut stream, _| {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                assert_ne!(byte, *b"!", "a panic that is part of the test");
                stream.write_all(&byte)
            })
        });
        for text in [b"a", b"!", b"b", b"!", b"c"] {
            let mut stream = TcpStream::connect(addr)?;
            stream.write_all(text)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            assert_eq!(answer, if text == b"!" { b"".as_slice() } else { text.as_slice() });
        }
        handle.stop();
        Ok(())
    });
}

/// Set in the process in which a handler panics.
const PANICS: &str = "SWARD_TEST_PANICS";

#[test]
fn a_panic_names_the_peer() {
    watched(|| {
        if std::env::var_os(PANICS).is_some() {
            let server = Server::bind("127.0.0.1:0")?;
            let (addr, handle) = (server.local_addr()?, server.handle());
            spawn(move || server.serve(|_, _| panic!("a panic that is part of the test")));
            let mut client = TcpStream::connect(addr)?;
            assert_eq!(client.read(&mut [0])?, 0);
            println!("\nthe peer was {}", client.local_addr()?);
            handle.stop();
            return Ok(());
        }
        let mut child = std::process::Command::new(std::env::current_exe()?);
        child.args(["a_panic_names_the_peer", "--exact", "--nocapture"]).env(PANICS, "1");
        let output = child.output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        let peer = out.lines().find_map(|line| line.strip_prefix("the peer was ")).expect("it says so");
        let named = err.lines().filter(|line| line.contains(&format!("connection from {peer}"))).count();
        assert_eq!(named, 1, "{err}");
        Ok(())
    });
}

#[test]
fn stop_waits_for_handlers_and_stop_timeout_kills_them() {
    watched(|| {
        for limited in [false, true] {
            let server = Server::bind("127.0.0.1:0")?;
            let (addr, handle) = (server.local_addr()?, server.handle());
            let ends = Rc::new(RefCell::new(Vec::new()));
            struct Tells(Rc<RefCell<Vec<&'static str>>>, &'static str);
            impl Drop for Tells {
                fn drop(&mut self) {
                    self.0.borrow_mut().push(self.1);
                }
            }
            let serving = spawn({
                let ends = ends.clone();
                move || {
                    server.serve(move |_, _| {
                        let mut tells = Tells(ends.clone(), "killed");
                        sleep(if limited { Duration::from_secs(1000) } else { ms(30) });
                        tells.1 = "returned";
                    })
                }
            });
            let _clients = [TcpStream::connect(addr)?, TcpStream::connect(addr)?];
            sleep(ms(5));
            let start = Instant::now();
            if limited {
                assert!(!handle.stop_timeout(ms(20)));
                assert!(start.elapsed() >= ms(20) && start.elapsed() < ms(2000));
                assert_eq!(*ends.borrow(), ["killed"; 2]);
            } else {
                assert!(handle.stop_timeout(Duration::from_secs(1000)));
                assert_eq!(*ends.borrow(), ["returned"; 2]);
            }
            serving.join().unwrap()?;
        }
        Ok(())
    });
}

#[test]
fn a_second_stop_may_be_less_patient() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        let serving = spawn(move || server.serve(|_, _| sleep(Duration::from_secs(1000))));
        let _client = TcpStream::connect(addr)?;
        sleep(ms(5));
        let patient = spawn({
            let handle = handle.clone();
            move || handle.stop()
        });
        yield_now();
        let impatient = std::thread::spawn(move || handle.stop_timeout(ms(10)));
        patient.join().unwrap();
        assert!(!impatient.join().unwrap());
        serving.join().unwrap()
    });
}

#[test]
fn a_handler_may_stop_its_server() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        let serving = spawn(move || {
            server.serve(move |mut stream, _| {
                handle.stop();
                stream.write_all(b"stopping")
            })
        });
        assert_eq!(io::read_to_string(TcpStream::connect(addr)?)?, "stopping");
        serving.join().unwrap()
    });
}

#[test]
fn killing_serve_closes_everything() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        let serving = spawn(move || server.serve(|_, _| sleep(Duration::from_secs(1000))));
        let mut client = TcpStream::connect(addr)?;
        sleep(ms(5));
        serving.kill();
        assert!(serving.join().unwrap_err().is_killed());
        assert_eq!(client.read(&mut [0; 8])?, 0);
        assert!(TcpStream::connect(addr).is_err());
        handle.stop();
        Ok(())
    });
}

#[test]
fn stopped_before_it_served_it_does_not_serve() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?;
        server.handle().stop();
        server.serve(|_, _| ())
    });
}

#[test]
fn several_hubs_share_a_port() {
    watched(|| {
        for pool in [1, 1000] {
            let server = Server::bind("127.0.0.1:0")?.pool(pool).threads(3);
            let (addr, handle) = (server.local_addr()?, server.handle());
            let threads = Arc::new(Mutex::new(HashSet::new()));
            assert!(Server::bind(addr).is_err(), "the port is taken");
            let serving = spawn({
                let threads = threads.clone();
                move || {
                    server.serve(move |mut stream, _| {
                        threads.lock().unwrap().insert(std::thread::current().id());
                        stream.write_all(b"x")
                    })
                }
            });
            let clients: Vec<_> =
                (0..100).map(|_| spawn(move || io::read_to_string(TcpStream::connect(addr)?))).collect();
            for client in clients {
                assert_eq!(client.join().unwrap()?, "x");
            }
            assert_eq!(threads.lock().unwrap().len(), 3);
            handle.stop();
            serving.join().unwrap()?;
            assert!(TcpStream::connect(addr).is_err());
        }
        Ok(())
    });
}

#[test]
fn threads_are_stopped_from_any_thread_and_their_handlers_killed() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?.threads(2);
        let (addr, handle) = (server.local_addr()?, server.handle());
        let begun = Arc::new(AtomicUsize::new(0));
        let stopper = std::thread::spawn({
            let begun = begun.clone();
            move || {
                while begun.load(Ordering::SeqCst) < 10 {
                    std::thread::sleep(ms(1));
                }
                assert!(!handle.stop_timeout(ms(10)));
            }
        });
        let clients: Vec<_> = (0..10).map(|_| TcpStream::connect(addr)).collect::<Result<_, _>>()?;
        server.serve(move |_, _| {
            begun.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_secs(1000));
        })?;
        stopper.join().unwrap();
        for mut client in clients {
            assert_eq!(client.read(&mut [0; 8])?, 0);
        }
        Ok(())
    });
}

#[test]
fn a_unix_server_works_on_one_hub_and_on_two() {
    watched(|| {
        let path = std::env::temp_dir().join(format!("sward-server-{}", std::process::id()));
        for threads in [1, 2] {
            let server = Server::bind_unix(&path)?;
            let handle = server.handle();
            let serve = move || match threads {
                1 => server.serve(|mut stream, _| stream.write_all(b"x")),
                n => server.threads(n).serve(|mut stream, _| stream.write_all(b"x")),
            };
            let serving = spawn(serve);
            for _ in 0..20 {
                assert_eq!(io::read_to_string(UnixStream::connect(&path)?)?, "x");
            }
            handle.stop();
            serving.join().unwrap()?;
            std::fs::remove_file(&path)?;
        }
        Ok(())
    });
}

#[test]
fn handlers_that_block_their_hub_do_not_block_the_other() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?.threads(2);
        let (addr, handle) = (server.local_addr()?, server.handle());
        let both = Arc::new(Barrier::new(2));
        let clients = std::thread::spawn(move || -> io::Result<()> {
            // Two that end up on different hubs meet at the barrier; others are let through.
            let clients: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(addr)).collect::<Result<_, _>>()?;
            clients.into_iter().map(io::read_to_string).collect::<Result<Vec<_>, _>>()?;
            handle.stop();
            Ok(())
        });
        let once = AtomicUsize::new(0);
        let first: Mutex<Option<std::thread::ThreadId>> = Mutex::new(None);
        server.serve(move |mut stream, _| {
            let me = std::thread::current().id();
            let mut first = first.lock().unwrap();
            let meets = match *first {
                None => {
                    *first = Some(me);
                    once.fetch_add(1, Ordering::SeqCst) == 0
                }
                Some(other) => other != me && once.fetch_add(1, Ordering::SeqCst) == 1,
            };
            drop(first);
            if meets {
                both.wait();
            }
            stream.write_all(b"x")
        })?;
        clients.join().unwrap()
    });
}
