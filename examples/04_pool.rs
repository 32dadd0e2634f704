//! A pool that checks many "sites", a few at a time: `map`, and `imap_unordered` with a progress line.
//!
//! `cargo run --example 04_pool`; the chapter is `docs/guide/04_pool.md`.

use std::io::Write;
use std::time::{Duration, Instant};

use sward::sync::Pool;

const SITES: u64 = 40;
const AT_ONCE: usize = 8;

fn main() {
    let pool = Pool::new(AT_ONCE);

    // `map`: all results, in the order of the inputs.
    let start = Instant::now();
    let sizes = pool.map(0..AT_ONCE as u64, |site| check(site).len());
    println!("map: sizes {sizes:?} in {} ms", start.elapsed().as_millis());

    // `imap_unordered`: each result as soon as it is there. A panic is an error in its place.
    let start = Instant::now();
    let (mut good, mut bad) = (0, 0);
    let outcomes = pool.imap_unordered(0..SITES, |site| {
        let page = check(site);
        if site % 13 == 12 {
            // What a panic does, without its message on the terminal.
            std::panic::resume_unwind(Box::new("the page makes no sense"));
        }
        page.len()
    });
    for outcome in outcomes {
        match outcome {
            Ok(_) => good += 1,
            Err(_) => bad += 1,
        }
        print!("\rimap_unordered: {} of {SITES} checked, {bad} of them bad", good + bad);
        let _ = std::io::stdout().flush();
    }
    println!();

    // One after the other this would have taken the sum of all times.
    let alone: Duration = (0..SITES).map(time_for).sum();
    println!("{} ms instead of {} ms", start.elapsed().as_millis(), alone.as_millis());
}

/// Stands for a request: takes its time, without keeping the others from going on.
fn check(site: u64) -> String {
    sward::sleep(time_for(site));
    format!("page {site} {}", "x".repeat(site as usize))
}

/// How long a site takes to answer.
fn time_for(site: u64) -> Duration {
    Duration::from_millis(20 + site * 17 % 40)
}
