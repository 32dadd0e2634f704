//! What an overflow looks like from outside. Each test runs in a process of its own.

use std::cell::Cell;
use std::env;
use std::time::Duration;

use corosensei::Coroutine;

use std::mem;

use super::*;
use crate::stack::own_process::in_own_process;
use crate::stack::{Stack, StackPool};

thread_local! {
    /// The guard and the size of the stack that this thread runs on.
    static RUNNING: Cell<Option<(usize, usize, usize)>> = const { Cell::new(None) };
}

/// The name of the greenlet in these tests.
const NAME: &str = "deep diver";

/// What the hub does elsewhere.
fn describe(address: usize, report: &mut dyn FnMut(Victim<'_>)) -> bool {
    let Some((start, end, stack_size)) = RUNNING.get() else { return false };
    if !(start..end).contains(&address) {
        return false;
    }
    let stack_top = end + stack_size + 4096;
    report(Victim { name: Some(NAME), id: 7, stack_size, stack_top, spawned_at: Location::caller() });
    true
}

/// Runs `main` on a stack of at least `usable` bytes, with our handler in place.
fn on_a_stack(usable: Option<usize>, main: impl FnOnce(usize) + 'static) {
    install(describe);
    let _alternate = AlternateStack::new().unwrap();
    let pool = StackPool::new();
    let stack = pool.take(usable).unwrap();
    let guard = stack.guard();
    RUNNING.set(Some((guard.start, guard.end, stack.usable())));
    let mut run: Coroutine<(), (), (), Stack> =
        Coroutine::with_stack(stack, move |_, ()| outermost_call(guard.start, main));
    run.resume(());
    pool.give(run.into_stack());
}

/// The call whose name is to be at the end of the backtrace.
#[inline(never)]
fn outermost_call(guard: usize, main: impl FnOnce(usize)) {
    main(guard);
    std::hint::black_box(());
}

/// Returns after more calls than any stack has room for.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 8]);
    if depth == u64::MAX { 0 } else { recurse(here[0] + 1) + here[7] }
}

#[test]
fn an_endless_recursion_is_reported() {
    for guards in ["", "mprotect"] {
        let variables = [("SWARD_GUARD", guards)];
        let outcome = in_own_process(concat!(module_path!(), "::an_endless_recursion_is_reported"), &variables, || {
            on_a_stack(None, |_| _ = recurse(0));
        });
        let Some(outcome) = outcome else { return };
        let first = outcome.stderr.lines().find(|line| line.contains("sward")).unwrap();
        assert!(first.starts_with(r#"sward: greenlet 7 "deep diver" (spawned at "#), "{first}");
        outcome.assert_reported(&[
            "overflowed its stack of 262144 bytes; give it more with Builder::stack_size",
            "overflow/tests.rs:",
            "recurse",
            "calls left out",
            "outermost_call",
        ]);
        assert!(outcome.stderr.lines().count() < 300, "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("on_fault"), "{}", outcome.stderr);
    }
}

#[test]
fn a_frame_larger_than_a_page_is_caught() {
    let outcome = in_own_process(concat!(module_path!(), "::a_frame_larger_than_a_page_is_caught"), &[], || {
        // What C does, whose large frames are not touched page by page.
        on_a_stack(Some(100_000), |guard| {
            // SAFETY: meant to fault.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(guard).write_volatile(1) };
        });
    });
    let Some(outcome) = outcome else { return };
    outcome.assert_reported(&["overflowed its stack of 114688 bytes", "outermost_call"]);
}

#[test]
fn a_backtrace_that_hangs_is_cut_off() {
    let outcome = in_own_process(concat!(module_path!(), "::a_backtrace_that_hangs_is_cut_off"), &[], || {
        extern "C" fn hold(_: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
            std::thread::sleep(Duration::from_secs(3600));
            0
        }
        // Somebody holds the loader's lock for ever, which looking up names needs.
        std::thread::spawn(|| {
            // SAFETY: `hold` does nothing with its arguments.
            unsafe { libc::dl_iterate_phdr(Some(hold), ptr::null_mut()) }
        });
        std::thread::sleep(Duration::from_millis(200));
        on_a_stack(None, |_| _ = recurse(0));
    });
    let Some(outcome) = outcome else { return };
    outcome.assert_reported(&["overflowed its stack of 262144 bytes", "took too long"]);
}

#[test]
fn two_threads_may_overflow_at_once() {
    let outcome = in_own_process(concat!(module_path!(), "::two_threads_may_overflow_at_once"), &[], || {
        let threads = [0, 1].map(|_| std::thread::spawn(|| on_a_stack(None, |_| _ = recurse(0))));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let Some(outcome) = outcome else { return };
    outcome.assert_reported(&["outermost_call"]);
    assert_eq!(outcome.stderr.matches("overflowed").count(), 1, "{}", outcome.stderr);
}

#[test]
fn an_overflow_of_a_thread_is_left_to_std() {
    let outcome = in_own_process(concat!(module_path!(), "::an_overflow_of_a_thread_is_left_to_std"), &[], || {
        install(describe);
        let thread = std::thread::Builder::new().name("plain".into()).spawn(|| {
            let _alternate = AlternateStack::new().unwrap();
            recurse(0)
        });
        thread.unwrap().join().unwrap();
    });
    let Some(outcome) = outcome else { return };
    outcome.assert_reported(&["thread 'plain'", "has overflowed its stack"]);
    assert!(!outcome.stderr.contains("greenlet"), "{}", outcome.stderr);
}

/// Writes to an address where nothing is mapped.
fn fault() {
    // SAFETY: meant to fault.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(16).write_volatile(1) };
}

#[test]
fn other_faults_go_to_the_handler_before_us() {
    extern "C" fn handler(_: c_int, info: *mut siginfo_t, context: *mut c_void) {
        assert!(!context.is_null());
        // SAFETY: the information about a fault; ends the process without further ado.
        unsafe { libc::_exit((*info).si_addr() as c_int + 26) };
    }
    let outcome = in_own_process(concat!(module_path!(), "::other_faults_go_to_the_handler_before_us"), &[], || {
        // SAFETY: a valid action.
        unsafe {
            let mut action: sigaction = mem::zeroed();
            action.sa_flags = libc::SA_SIGINFO;
            action.sa_sigaction = handler as *const () as usize;
            libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut());
        }
        on_a_stack(None, |_| fault());
    });
    let Some(outcome) = outcome else { return };
    assert_eq!(outcome.code, Some(42), "{}", outcome.stderr);
}

#[test]
fn other_faults_end_the_process_by_default() {
    for former in [libc::SIG_DFL, libc::SIG_IGN] {
        let outcome = in_own_process(
            concat!(module_path!(), "::other_faults_end_the_process_by_default"),
            &[("SWARD_TEST_FORMER", &former.to_string())],
            || {
                let former = env::var("SWARD_TEST_FORMER").unwrap().parse().unwrap();
                // SAFETY: the default action, or none.
                unsafe { libc::signal(libc::SIGSEGV, former) };
                on_a_stack(None, |_| fault());
            },
        );
        let Some(outcome) = outcome else { return };
        assert_eq!(outcome.signal, Some(libc::SIGSEGV), "{}", outcome.stderr);
    }
}

#[test]
fn a_signal_that_somebody_sends_does_what_it_did() {
    for (former, signal) in [(libc::SIG_DFL, Some(libc::SIGSEGV)), (libc::SIG_IGN, None)] {
        let outcome = in_own_process(
            concat!(module_path!(), "::a_signal_that_somebody_sends_does_what_it_did"),
            &[("SWARD_TEST_FORMER", &former.to_string())],
            || {
                let former = env::var("SWARD_TEST_FORMER").unwrap().parse().unwrap();
                // SAFETY: the default action, or none; then a signal to ourselves.
                unsafe {
                    libc::signal(libc::SIGSEGV, former);
                    install(describe);
                    libc::raise(libc::SIGSEGV);
                }
            },
        );
        let Some(outcome) = outcome else { return };
        assert_eq!(outcome.signal, signal, "{}", outcome.stderr);
    }
}

/// The signal stack in force on this thread.
fn in_force() -> Option<usize> {
    // SAFETY: all zeroes is a `stack_t`; the call writes the stack in force there.
    let stack = unsafe {
        let mut stack: libc::stack_t = mem::zeroed();
        assert_eq!(libc::sigaltstack(ptr::null(), &mut stack), 0);
        stack
    };
    (stack.ss_flags & libc::SS_DISABLE == 0).then_some(stack.ss_sp as usize)
}

/// Puts `stack` in force.
fn put_in_force(stack: Option<usize>) {
    let flags = if stack.is_some() { 0 } else { libc::SS_DISABLE };
    let stack = libc::stack_t {
        ss_sp: std::ptr::with_exposed_provenance_mut(stack.unwrap_or(0)),
        ss_flags: flags,
        ss_size: 65536,
    };
    // SAFETY: no signal is handled on it in these tests.
    assert_eq!(unsafe { libc::sigaltstack(&stack, ptr::null_mut()) }, 0);
}

#[test]
fn the_former_signal_stack_comes_back() {
    let former = in_force();
    let ours = AlternateStack::new().unwrap();
    assert!(in_force().is_some() && in_force() != former);
    drop(ours);
    assert_eq!(in_force(), former);
}

#[test]
fn a_signal_stack_that_was_taken_down_does_not_come_back() {
    let ours = AlternateStack::new().unwrap();
    put_in_force(None);
    drop(ours);
    assert_eq!(in_force(), None);
}

#[test]
fn a_signal_stack_put_in_force_after_ours_stays() {
    let ours = AlternateStack::new().unwrap();
    let theirs: &'static mut [u8] = vec![0; 65536].leak();
    put_in_force(Some(theirs.as_mut_ptr().expose_provenance()));
    drop(ours);
    assert_eq!(in_force(), Some(theirs.as_ptr().addr()));
    put_in_force(None);
}
