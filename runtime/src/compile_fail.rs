//! What must not compile. Each example differs from one that compiles in the line that is wrong.
//!
//! A greenlet stays on its thread, and so does its handle:
//!
//! ```compile_fail,E0277
//! let greenlet = sward::spawn(|| ());
//! std::thread::spawn(move || greenlet.join());
//! ```
//!
//! ```compile_fail,E0277
//! let unparker = sward::lowlevel::Unparker::current();
//! std::thread::spawn(move || unparker.unpark());
//! ```
//!
//! ```compile_fail,E0277
//! let queue = sward::lowlevel::WaitQueue::<()>::new();
//! std::thread::spawn(move || queue.wake_one());
//! ```
//!
//! ```compile_fail,E0277
//! static QUEUE: sward::lowlevel::WaitQueue = sward::lowlevel::WaitQueue::new();
//! ```
//!
//! ```compile_fail,E0277
//! let me = sward::current();
//! std::thread::spawn(move || me.kill());
//! ```
//!
//! ```compile_fail,E0277
//! let source = sward::lowlevel::Source::new(std::io::stdin());
//! std::thread::spawn(move || source.wait_readable(None));
//! ```
//!
//! What goes to another hub must be `Send`, and so must what comes back:
//!
//! ```compile_fail,E0277
//! let shared = std::rc::Rc::new(5);
//! sward::handle().spawn(move || drop(shared));
//! ```
//!
//! ```compile_fail,E0277
//! sward::handle().spawn(|| std::rc::Rc::new(5));
//! ```
//!
//! ```compile_fail,E0277
//! let shared = std::rc::Rc::new(5);
//! sward::offload(move || drop(shared));
//! ```
//!
//! A greenlet that is not scoped borrows nothing:
//!
//! ```compile_fail,E0597
//! let text = String::from("borrowed");
//! let borrowed = &text;
//! sward::spawn(move || println!("{borrowed}"));
//! ```
//!
//! A scope's greenlets borrow only what outlives the scope, and neither they nor the scope leave it:
//!
//! ```compile_fail,E0597
//! sward::scope(|scope| {
//!     let inside = String::from("too short a life");
//!     let borrowed = &inside;
//!     scope.spawn(move || println!("{borrowed}"));
//! });
//! ```
//!
//! ```compile_fail
//! let escaped = sward::scope(|scope| scope.spawn(|| ()));
//! ```
//!
//! ```compile_fail,E0521
//! let mut kept = None;
//! sward::scope(|scope| kept = Some(scope.spawn(|| ())));
//! ```
//!
//! ```compile_fail,E0499
//! let mut number = 1;
//! sward::scope(|scope| {
//!     scope.spawn(|| number += 1);
//!     scope.spawn(|| number += 1);
//! });
//! ```
//!
//! ```compile_fail,E0502
//! let mut number = 1;
//! sward::scope(|scope| {
//!     scope.spawn(|| number += 1);
//!     println!("{number}");
//! });
//! ```
//!
//! `Waitable` is sealed:
//!
//! ```compile_fail
//! struct Mine;
//! impl sward::Waitable for Mine {}
//! ```
