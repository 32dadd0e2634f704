//! Two ways to stop a greenlet that waits: a limit around the wait, and a kill from outside.
//!
//! `cargo run --example 02_timeout_and_kill`; the chapter is `docs/guide/02_timeout_and_kill.md`.

use std::time::Duration;

const MOMENT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(3600);

fn main() {
    limit_a_wait();
    nest_limits();
    kill_from_outside();
    shield_a_piece_of_work();
}

/// Any code may wait inside `timeout`: it needs no parameter and no support for it.
fn limit_a_wait() {
    match sward::timeout(MOMENT, || sward::sleep(LONG)) {
        Ok(()) => println!("slept an hour"),
        Err(elapsed) => println!("timeout: {elapsed}"),
    }
}

/// Each `timeout` catches only its own expiry: here the outer one, which is due first.
fn nest_limits() {
    let outer = sward::timeout(MOMENT, || {
        let inner = sward::timeout(LONG, || sward::sleep(LONG));
        unreachable!("the outer limit passes through the inner call: {inner:?}");
    });
    println!("nested: the outer one expired: {}", outer.is_err());
}

/// A kill unwinds the greenlet from where it waits, so its destructors run.
fn kill_from_outside() {
    let greenlet = sward::spawn(|| {
        let _guard = SaysGoodBye("kill");
        sward::sleep(LONG);
        println!("never printed");
    });
    sward::sleep(MOMENT); // let it start
    greenlet.kill(); // only asks: returns at once
    match greenlet.join() {
        Ok(()) => println!("kill: it ended by itself"),
        Err(error) => println!("kill: joined, is_killed() is {}", error.is_killed()),
    }
}

/// `shield` holds a kill back until a piece of work that must not be cut in two is done.
fn shield_a_piece_of_work() {
    let greenlet = sward::spawn(|| {
        sward::shield(|| {
            println!("shield: first half");
            sward::sleep(2 * MOMENT);
            println!("shield: second half");
        });
        sward::sleep(LONG); // the kill is raised here
    });
    sward::sleep(MOMENT);
    greenlet.kill();
    greenlet.wait();
    println!("shield: killed, but only afterwards");
}

/// Shows that destructors run.
struct SaysGoodBye(&'static str);

impl Drop for SaysGoodBye {
    fn drop(&mut self) {
        println!("{}: the destructor ran", self.0);
    }
}
