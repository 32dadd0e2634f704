//! Three greenlets on one OS thread: each sleeps, none holds up the others.
//!
//! `cargo run --example 01_hello`; the chapter is `docs/guide/01_hello.md`.

use std::time::{Duration, Instant};

fn main() {
    let start = Instant::now();
    let greenlets: Vec<_> = (1..=3)
        .map(|n| {
            sward::spawn(move || {
                println!("greenlet {n}: hello");
                sward::sleep(Duration::from_millis(100 * n)); // parks this greenlet, not the thread
                println!("greenlet {n}: good bye after {} ms", start.elapsed().as_millis());
                n * n
            })
        })
        .collect();
    println!("root: all spawned, none has run yet");
    for greenlet in greenlets {
        match greenlet.join() {
            Ok(square) => println!("root: joined, got {square}"),
            Err(error) => println!("root: {error}"),
        }
    }
}
