//! Producers and consumers around one bounded queue, and how such a program ends.
//!
//! `cargo run --example 03_producers_and_consumers`; the chapter is `docs/guide/03_producers_and_consumers.md`.

use std::time::Duration;

use sward::sync::Queue;

const PRODUCERS: u32 = 3;
const CONSUMERS: u32 = 2;
const ITEMS: u32 = 4;

fn main() {
    // Room for two items: producers who are quicker than the consumers wait.
    let queue = Queue::bounded(2);
    let handled: u32 = sward::scope(|s| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|p| {
                s.spawn({
                    let queue = &queue;
                    move || produce(queue, p)
                })
            })
            .collect();
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|c| {
                s.spawn({
                    let queue = &queue;
                    move || consume(queue, c)
                })
            })
            .collect();

        for producer in producers {
            producer.join().expect("a producer does not fail");
        }
        println!("all producers are done; {} items are left in the queue", queue.len());
        queue.join(); // until task_done was called for each item
        println!("all items are handled");
        queue.close(); // ends the consumers' loops
        consumers.into_iter().map(|consumer| consumer.join().expect("a consumer does not fail")).sum()
    });
    assert_eq!(handled, PRODUCERS * ITEMS);
    println!("{handled} items went through the queue");
}

/// Puts items, as fast as there is room for them.
fn produce(queue: &Queue<String>, producer: u32) {
    for n in 0..ITEMS {
        let item = format!("item {n} of producer {producer}");
        queue.put(item).expect("nobody closes the queue before the producers are done");
    }
}

/// Handles items until the queue is closed and empty; says how many.
fn consume(queue: &Queue<String>, consumer: u32) -> u32 {
    let mut handled = 0;
    for item in queue {
        sward::sleep(Duration::from_millis(20)); // the work
        println!("consumer {consumer} has handled {item}");
        queue.task_done();
        handled += 1;
    }
    handled
}
