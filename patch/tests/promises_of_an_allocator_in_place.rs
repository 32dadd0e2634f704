//! An allocator that takes a lock of libc's which another thread holds, in [`sward::patch::Allocator`]: nobody who allocates
//! parks, so what is borrowed meanwhile is nobody else's.

#[path = "support/locking_allocator.rs"]
mod locking_allocator;
mod support;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;

use locking_allocator::{Locking, each_allocation_waits};
use sward::net::UnixStream;
use sward::sync::{Group, Queue};

#[global_allocator]
static ALLOCATOR: sward::patch::Allocator<Locking> = sward::patch::Allocator::new(Locking);

/// Greenlets that share what they allocate for: a cell of the program's, and some of what sward has.
fn work() {
    let (cell, queue) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Queue::unbounded()));
    let group = Group::new();
    for number in 0..6 {
        let (cell, queue) = (cell.clone(), queue.clone());
        group.spawn(move || {
            for _ in 0..5 {
                cell.borrow_mut().push(Box::new(number));
                queue.put(number).unwrap();
            }
        });
        let (mut one, mut other) = UnixStream::pair().unwrap();
        group.spawn(move || one.write_all(b"x").unwrap());
        group.spawn(move || other.read_exact(&mut [0]).unwrap());
    }
    group.join();
    assert_eq!(cell.borrow().len(), 30);
    assert_eq!(queue.len(), 30);
}

#[test]
fn nothing_that_is_borrowed_is_anybody_elses_while_one_allocates() {
    each_allocation_waits("nothing_that_is_borrowed_is_anybody_elses_while_one_allocates", work);
}
