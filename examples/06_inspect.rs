//! What is going on: the greenlets of a program as a tree, and a watchdog for one that keeps the thread to itself.
//!
//! `cargo run --example 06_inspect`; the chapter is `docs/guide/06_inspect.md`.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sward::sync::Queue;
use sward::{Builder, inspect};

fn main() -> io::Result<()> {
    // From now on, whoever keeps the thread for more than 50 ms is reported on stderr.
    inspect::watch(Duration::from_millis(50));

    let orders = Rc::new(Queue::unbounded());
    let theirs = orders.clone();
    let kitchen = Builder::new().name("kitchen").spawn(move || {
        let cooks = [1, 2].map(|n| {
            let orders = theirs.clone();
            Builder::new().name(format!("cook {n}")).spawn(move || work(&orders)).unwrap()
        });
        for cook in cooks {
            cook.join().unwrap();
        }
    })?;

    orders.put("stew").unwrap();
    orders.put("soup").unwrap();
    sward::sleep(Duration::from_millis(20));
    println!("The cooks have nothing to do:\n");
    inspect::dump(io::stdout())?;

    orders.close();
    kitchen.join().unwrap();

    let stats = inspect::stats();
    println!("\n{} greenlets were spawned; there were {} switches", stats.spawned, stats.switches);
    Ok(())
}

/// A stew is made by one who does not let go of the thread.
fn work(orders: &Queue<&str>) {
    for order in orders.iter() {
        match order {
            "stew" => stir(Duration::from_millis(200)),
            _ => sward::sleep(Duration::from_millis(5)),
        }
    }
}

/// Computes, and neither blocks nor yields: no other greenlet of this thread runs meanwhile.
fn stir(limit: Duration) {
    let start = Instant::now();
    while start.elapsed() < limit {
        std::hint::spin_loop();
    }
}
