//! Stacks for code that nobody here compiled: it has no stack probes, and large frames.

#[path = "support/dynamic.rs"]
mod dynamic;
#[path = "support/own_process.rs"]
mod own_process;
mod support;

use std::ffi::c_int;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;

use dynamic::{Dynamic, compile};
use own_process::in_own_process;
use support::{patched, slow};

type LargeFrame = unsafe extern "C" fn(c_int) -> c_int;

/// A function in C with a frame of 200 KiB whose lowest byte it writes first; `None` without a C compiler.
fn large_frame() -> Option<LargeFrame> {
    // Some distributions' compilers probe by default, others' do not: those are the ones that matter.
    let file = compile("frames", "frames", &["-O1", "-fno-stack-clash-protection"])?;
    // SAFETY: its type in `frames.c`.
    let function = unsafe { Dynamic::open(&file, libc::RTLD_NOW).function(c"library_large_frame") };
    std::fs::remove_file(file).unwrap();
    Some(function)
}

/// Calls itself until only `left` bytes of the stack that began at `top` are left, then calls `bottom`.
#[inline(never)]
fn descend(top: usize, left: usize, bottom: &mut dyn FnMut()) -> u64 {
    let here = black_box([0u64; 4]);
    if top - (&raw const here).addr() > (256 << 10) - left {
        bottom();
        return 0;
    }
    1 + descend(top, left, bottom) + here[0]
}

/// The caller's place on its stack.
#[inline(never)]
fn place() -> usize {
    let here = black_box(0u8);
    (&raw const here).addr()
}

#[test]
fn a_large_frame_of_c_has_room() {
    patched("a_large_frame_of_c_has_room", || {
        let Some(frame) = large_frame() else { return };
        for size in [None, Some(16 << 10)] {
            let builder = size.into_iter().fold(sward::Builder::new(), sward::Builder::stack_size);
            // SAFETY: takes a number.
            let g = builder.spawn(move || unsafe { frame(7) }).unwrap();
            assert_eq!(g.join().unwrap(), 7, "stack_size {size:?} was raised");
        }
    });
}

#[test]
fn an_overflow_by_a_large_frame_of_c_is_reported() {
    let outcome = in_own_process("an_overflow_by_a_large_frame_of_c_is_reported", || {
        let Some(frame) = large_frame() else { return };
        // SAFETY: nothing here minds that other greenlets run.
        unsafe { sward::patch::all() };
        // Its neighbours' stacks lie around it: what must not be written to.
        let neighbours: Vec<_> =
            (0..20).map(|_| sward::spawn(|| std::thread::sleep(std::time::Duration::from_secs(30)))).collect();
        let diver = sward::Builder::new().name("diver").spawn(move || {
            // SAFETY: takes a number.
            descend(place(), 16 << 10, &mut || assert_eq!(unsafe { frame(black_box(7)) }, 7))
        });
        let _ = diver.unwrap().join();
        drop(neighbours);
        eprintln!("not reported");
    });
    let Some(outcome) = outcome else { return };
    let stderr = String::from_utf8_lossy(&outcome.stderr);
    if stderr.contains("skipped: no cc") {
        return eprintln!("skipped: no cc");
    }
    assert!(slow() || outcome.status.signal() == Some(libc::SIGABRT), "{}\n{stderr}", outcome.status);
    assert!(stderr.contains(r#""diver""#) && stderr.contains("overflowed its stack of 262144 bytes"), "{stderr}");
    assert!(stderr.contains("descend"), "the backtrace goes on above the C function: {stderr}");
}
