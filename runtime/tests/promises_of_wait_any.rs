//! `wait_any`: the first of several.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use support::{FOREVER, SHORT, message, watchdog};
use sward::{Waitable, wait_any, wait_any_timeout};

#[test]
fn the_one_that_is_ready_first_wins() {
    let _watchdog = watchdog();
    let greenlets = [3, 1, 2].map(|n| sward::spawn(move || sward::sleep(SHORT * n)));
    let objects = [&greenlets[0] as &dyn Waitable, &greenlets[1], &greenlets[2]];
    assert_eq!(wait_any(&objects), 1);
    greenlets[0].wait();
    assert_eq!(wait_any(&objects), 0, "of several that are ready the lowest");
}

#[test]
fn of_two_that_finish_in_one_turn_the_first_to_finish_wins() {
    let _watchdog = watchdog();
    let order = Rc::new(RefCell::new(Vec::new()));
    let greenlets = [1, 0].map(|n| {
        let order = order.clone();
        sward::spawn(move || {
            (0..n).for_each(|_| sward::yield_now());
            order.borrow_mut().push(n);
        })
    });
    let index = wait_any(&[&greenlets[0], &greenlets[1]]);
    assert_eq!((index, order.borrow()[0]), (1, 0));
}

#[test]
fn duplicates_references_and_rcs_work() {
    let _watchdog = watchdog();
    let greenlet = Rc::new(sward::spawn(sward::yield_now));
    let endless = sward::spawn(|| sward::sleep(FOREVER));
    assert_eq!(wait_any(&[&endless, &greenlet, &&greenlet, &&&*greenlet]), 1);
    endless.kill();
}

#[test]
fn a_timeout_is_none_and_too_long_a_limit_is_no_limit() {
    let _watchdog = watchdog();
    let endless = sward::spawn(|| sward::sleep(FOREVER));
    assert_eq!(wait_any_timeout(&[&endless, &endless], SHORT), None);
    assert_eq!(wait_any_timeout(&[&endless], Duration::ZERO), None);
    let short = sward::spawn(|| sward::sleep(SHORT));
    assert_eq!(wait_any_timeout(&[&endless, &short], Duration::MAX), Some(1));
    endless.kill();
}

#[test]
fn an_empty_list_panics() {
    let caught = std::panic::catch_unwind(|| wait_any(&[])).unwrap_err();
    assert!(message(&*caught).contains("wait_any"));
    assert!(std::panic::catch_unwind(|| wait_any_timeout(&[], SHORT)).is_err());
}

#[test]
fn a_killed_wait_leaves_no_waiter_at_any_object() {
    let _watchdog = watchdog();
    let endless = Rc::new(sward::spawn(|| sward::sleep(FOREVER)));
    let theirs = endless.clone();
    let waiter = sward::spawn(move || wait_any(&[&theirs, &theirs]));
    sward::yield_now();
    waiter.kill();
    assert!(waiter.join().unwrap_err().is_killed());
    assert_eq!(Rc::strong_count(&endless), 1);
    endless.kill();
    endless.wait();
}

#[test]
fn scoped_greenlets_are_waitable() {
    let _watchdog = watchdog();
    let text = String::from("borrowed");
    sward::scope(|scope| {
        let slow = scope.spawn(|| sward::sleep(SHORT));
        let quick = scope.spawn(|| text.len());
        assert_eq!(wait_any(&[&slow, &quick]), 1);
    });
}

#[test]
fn a_thousand_objects_are_waited_for_at_once() {
    let _watchdog = watchdog();
    let greenlets: Vec<_> =
        (0..1000).map(|n| sward::spawn(move || sward::sleep(if n == 700 { SHORT } else { FOREVER }))).collect();
    let objects: Vec<&dyn Waitable> = greenlets.iter().map(|greenlet| greenlet as &dyn Waitable).collect();
    assert_eq!(wait_any(&objects), 700);
    greenlets.iter().for_each(sward::Greenlet::kill);
}
