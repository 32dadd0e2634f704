//! What a program built with `panic = "abort"` can do, and what tells it that it cannot. `ci/abort` builds and runs it.

use std::time::Duration;

/// For waits that must not end by themselves.
const FOREVER: Duration = Duration::from_secs(3600);
/// For waits that end.
const SHORT: Duration = Duration::from_millis(2);

fn main() {
    if cfg!(panic = "unwind") {
        return println!("panic_abort: built with panic = \"unwind\"; ci/abort builds it with panic = \"abort\"");
    }
    match std::env::args().nth(1).as_deref() {
        Some("works") => works(),
        Some("kill") => {
            let greenlet = sward::spawn(|| sward::sleep(FOREVER));
            sward::yield_now();
            greenlet.kill();
            let _ = greenlet.join();
        }
        Some("expiry") => {
            let _ = sward::timeout(SHORT, || sward::sleep(FOREVER));
        }
        _ => panic!("usage: panic_abort works|kill|expiry"),
    }
    println!("panic_abort: done");
}

/// Everything but interrupts that unwind.
fn works() {
    assert_eq!(sward::spawn(|| 1).join().unwrap(), 1);
    sward::sleep(SHORT);
    assert_eq!(sward::timeout(FOREVER, || sward::spawn(|| 2).join().unwrap()), Ok(2));
    let sleeper = sward::spawn(|| sward::sleep(SHORT * 100));
    assert!(!sleeper.wait_timeout(Duration::ZERO));
    sleeper.join().unwrap();
    let mut numbers = [1, 2, 3];
    sward::scope(|scope| {
        for number in &mut numbers {
            scope.spawn(move || *number *= 10);
        }
    });
    assert_eq!(numbers, [10, 20, 30]);
    assert_eq!(sward::offload(|| 4), 4);
    assert_eq!(sward::block_on(async { 5 }), 5);
    assert_eq!(sward::shield(|| 6), 6);
    let unborn = sward::spawn(|| unreachable!("killed before its start"));
    unborn.kill();
    assert!(unborn.join().unwrap_err().is_killed());
    assert_eq!(sward::run(|| 7), 7);
    // Its leftovers cannot be unwound, so they are leaked.
    let thread = std::thread::spawn(|| {
        sward::spawn(|| sward::sleep(FOREVER));
        sward::yield_now();
    });
    thread.join().unwrap();
}
