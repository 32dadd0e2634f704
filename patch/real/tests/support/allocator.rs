//! What greenlets do to an allocator that keeps things for each thread, with the thread's end to tell it when to let
//! go of them.

use std::cell::RefCell;
use std::sync::mpsc;
use std::thread;

use super::support::{greenlets, patched};

/// Kilobytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

thread_local! {
    /// Freed by a destructor, at the greenlet's end.
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Allocates, parks, hands memory to another greenlet and to another thread, and frees theirs.
fn work(seed: usize, to_thread: &mpsc::Sender<Vec<u8>>) {
    let block = |n: usize| vec![(n % 251) as u8; 16 + (seed * 31 + n * 97) % 5000];
    let mine: Vec<Vec<u8>> = (0..100).map(block).collect();
    KEPT.with_borrow_mut(|kept| {
        assert!(kept.is_empty(), "thread-locals are the greenlet's own");
        kept.push(block(7));
    });
    sward::yield_now();
    for (n, block) in mine.into_iter().enumerate() {
        assert!(block.iter().all(|&byte| byte == (n % 251) as u8));
        match n % 3 {
            0 => to_thread.send(block).unwrap(),
            1 => assert_eq!(sward::spawn(move || block.len()).join().unwrap(), 16 + (seed * 31 + n * 97) % 5000),
            _ => drop(block),
        }
    }
}

/// Many greenlets, round after round: what they got is right, and memory does not grow.
pub(crate) fn greenlets_allocate(name: &'static str) {
    patched(name, move || {
        let (to_thread, blocks) = mpsc::channel::<Vec<u8>>();
        let freer = thread::spawn(move || blocks.into_iter().map(|block| block.len()).sum::<usize>());
        let round = {
            let to_thread = to_thread.clone();
            move || {
                let to_thread = to_thread.clone();
                greenlets(200, move |seed| work(seed, &to_thread))
            }
        };
        (0..5).for_each(|_| drop(round()));
        let before = resident();
        (0..20).for_each(|_| drop(round()));
        let after = resident();
        println!("{name}: {before} kB after 1,000 greenlets, {after} kB after 5,000");
        assert!(after < before + before / 2 + 16_384, "{before} kB have become {after} kB");
        drop((round, to_thread));
        assert!(freer.join().unwrap() > 0);
    });
}
