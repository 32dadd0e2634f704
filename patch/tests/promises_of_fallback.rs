//! Where greenlets cannot have thread-locals of their own: blocking calls park all the same, locks do not.

#[path = "support/own_process.rs"]
mod own_process;
mod support;

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::thread;

use own_process::in_own_process_with;
use support::{greenlets, ms, patched, takes};

thread_local! {
    static SHARED: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn without_thread_locals_of_their_own_greenlets_still_park() {
    let test = "without_thread_locals_of_their_own_greenlets_still_park";
    let outcome = in_own_process_with(test, &[("SWARD_IDENTITY", "off")], || {
        patched(test, || {
            // SAFETY: as everywhere in these tests.
            let report = unsafe { sward::patch::all() };
            assert!(report.blocking_calls() && !report.thread_identity() && !report.locks(), "{report}");
            assert!(report.to_string().contains("SWARD_IDENTITY"), "says why: {report}");
            takes(ms(200), ms(1000), || greenlets(100, |_| thread::sleep(ms(200))));
            let (mut a, mut b) = UnixStream::pair().unwrap();
            let reader = sward::spawn(move || {
                let mut all = [0; 4];
                b.read_exact(&mut all).map(|()| all)
            });
            sward::spawn(move || {
                thread::sleep(ms(5));
                a.write_all(b"four").unwrap();
            });
            assert_eq!(reader.join().unwrap().unwrap(), *b"four");
            // The thread's own thread-locals, for all.
            assert_eq!(greenlets(3, |_| SHARED.replace(SHARED.get() + 1)), [0, 1, 2]);
            let thread = thread::current().id();
            assert!(greenlets(2, |_| thread::current().id()).iter().all(|id| *id == thread));
            // Locks that nobody holds over a wait work.
            let count = std::rc::Rc::new(Mutex::new(0));
            let theirs = count.clone();
            greenlets(10, move |_| {
                *theirs.lock().unwrap() += 1;
                thread::sleep(ms(1));
            });
            assert_eq!(*count.lock().unwrap(), 10);
            let mut child = std::process::Command::new("sleep");
            let child = sward::spawn(move || child.arg("0.05").status().unwrap());
            assert!(child.join().unwrap().success());
        });
    });
    let Some(output) = outcome else { return };
    assert!(output.status.success(), "{}{}", output.status, String::from_utf8_lossy(&output.stderr));
}
