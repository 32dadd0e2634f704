//! What an idle connection costs: no buffer of ours. A file of its own, since it counts what is on the heap.

mod support;

use std::alloc::System;
use std::io::{Read, Write};

use cap::Cap;
use support::watched;
use sward::net::{Server, TcpStream};
use sward::{sleep, spawn};

/// Counts what is on the heap.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

#[test]
fn an_idle_connection_holds_no_buffer() {
    watched(|| {
        const CONNECTIONS: usize = 400;
        const LEN: usize = 32 << 10;
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        let serving = spawn(move || {
            server.serve(|mut stream, _peer| {
                // What it needs to talk it has while it talks.
                while stream.peek(&mut [0]).is_ok_and(|n| n > 0) {
                    let mut buf = vec![0; LEN];
                    stream.read_exact(&mut buf).unwrap();
                    stream.write_all(&buf).unwrap();
                }
            })
        });
        let start = HEAP.allocated();
        // The first ones bring what all share: tables, which grow by doubling.
        let mut clients: Vec<TcpStream> = Vec::with_capacity(CONNECTIONS);
        let mut buf = vec![0; LEN];
        for _ in 0..CONNECTIONS {
            let mut client = TcpStream::connect(addr)?;
            client.write_all(&vec![7; LEN])?;
            client.read_exact(&mut buf)?;
            clients.push(client);
        }
        let each = (HEAP.allocated() - start) / CONNECTIONS;
        println!("{each} bytes on the heap for each connection, both of its ends, and its greenlet");
        assert!(each < 2048, "{each} bytes on the heap for each connection");
        drop(clients);
        while HEAP.allocated() > start + (each * CONNECTIONS) / 2 {
            sleep(support::ms(1));
        }
        handle.stop();
        serving.join().unwrap()
    });
}
