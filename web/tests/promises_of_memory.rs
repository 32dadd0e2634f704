//! Of connections that have ended nothing stays on the heap, and of large answers nothing stays with those that are open.
//! A file of its own, since it counts what the process has there.
//!
//! What the kernel has given for it is noisier: it grows in steps, whenever more connections are open at a time than
//! ever before, since stacks and the allocator keep what the highest wave has filled.

mod support;

use std::alloc::System;

use std::io::{BufReader, Write};
use std::sync::{Mutex, PoisonError};

use cap::Cap;
use support::stages::{every_stage, leave_after_any_byte, wait_for_none};
use support::{bind, ms, read_answer, start, watched};
use sward::web::Response;

/// One test at a time has the heap.
static ALONE: Mutex<()> = Mutex::new(());

/// Counts what is on the heap.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// The open file descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// A leak would show after each round; a pool that has grown, because a wave was higher than all before, after one.
#[test]
fn nothing_is_kept_of_connections_that_have_ended() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    watched(|| {
        let (server, alive) = every_stage(bind()?)?;
        server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        sward::sleep(ms(10));
        let idle = descriptors();
        let mut before = 0;
        let mut grown = Vec::new();
        for _ in 0..6 {
            leave_after_any_byte(&server)?;
            wait_for_none(&alive);
            while descriptors() > idle {
                sward::sleep(ms(5));
            }
            sward::sleep(ms(20)); // the greenlets end right after their sockets
            let now = HEAP.allocated();
            if now <= before {
                return server.stop();
            }
            grown.push(now - before);
            before = now;
        }
        panic!("bytes more on the heap after each round of connections: {grown:?}");
    });
}

/// Also with those that were open before the server had sent any.
#[test]
fn open_connections_keep_nothing_of_large_answers() {
    const LEN: usize = 200_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    watched(|| {
        let large = |request: &sward::web::Request<_>| request.uri().path() == "/large";
        let server = start(move |request| Response::new("a".repeat(if large(&request) { LEN } else { 1 })))?;
        let connections: Vec<_> = (0..20).map(|_| server.connect()).collect::<Result<_, _>>()?;
        let get = |path| {
            for mut stream in &connections {
                stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())?;
                read_answer(&mut BufReader::new(stream))?;
            }
            std::io::Result::Ok(HEAP.allocated())
        };
        get("/")?;
        let before = get("/")?;
        get("/large")?;
        let after = get("/")?;
        let each = after.saturating_sub(before) / connections.len();
        assert!(each < 2048, "{each} bytes more for each connection after an answer of {LEN}");
        server.stop()
    });
}
