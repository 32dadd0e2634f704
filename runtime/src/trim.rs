//! Giving back what a greenlet that goes on does not need.

use crate::hub::hub;

/// Gives the memory of the running greenlet's stack that lies below its frames back to the system. For a greenlet that
/// has called deeply, a TLS handshake or a parser, and now waits for long: each page below the one that it waits on would
/// be kept until it ends. The stack itself stays as large as it was.
///
/// One system call (`madvise(2)`), which costs what a blocking call does that has nothing to wait for; if the memory is
/// used again, a page fault for each page. Does nothing on a thread's own stack.
///
/// ```
/// let connection = sward::spawn(|| {
///     let sum: u64 = [1; 8000].iter().sum(); // 64,000 bytes of stack
///     sward::lowlevel::trim_stack();
///     sward::sleep(std::time::Duration::from_millis(1)); // and for as long as this takes, a page
///     sum
/// });
/// assert_eq!(connection.join().unwrap(), 8000);
/// ```
pub fn trim_stack() {
    let slot = hub().current();
    if !slot.is_root() && slot.greenlet.is_on_stack() {
        slot.greenlet.trim();
    }
}
