//! Lists of buffers (`struct iovec`) of which a part has been done.

use std::ptr;

use libc::{iovec, msghdr, size_t};

/// What is left of a caller's list of buffers. The caller's own list is never changed.
pub(crate) struct Parts {
    /// The remaining buffers.
    left: Vec<iovec>,
    /// The first that is not used up.
    first: usize,
}

impl Parts {
    /// The list of a message, without its first `done` bytes.
    ///
    /// # Safety
    ///
    /// The message's list must be as `sendmsg(2)` asks for.
    pub(crate) unsafe fn after(message: &msghdr, done: size_t) -> Parts {
        let count = message.msg_iovlen;
        // SAFETY: the caller vouches for the list; an empty one may have a null pointer.
        let list = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(message.msg_iov, count) } };
        let mut parts = Parts { left: list.to_vec(), first: 0 };
        parts.advance(done);
        parts
    }

    /// Takes `done` bytes off the front.
    pub(crate) fn advance(&mut self, mut done: size_t) {
        while let Some(part) = self.left.get_mut(self.first) {
            if done < part.iov_len {
                part.iov_base = part.iov_base.wrapping_byte_add(done);
                part.iov_len -= done;
                return;
            }
            done -= part.iov_len;
            self.first += 1;
        }
    }

    /// A message of what is left: without control data, which went with the first part.
    pub(crate) fn message(&mut self, like: &msghdr) -> msghdr {
        let left = &mut self.left[self.first..];
        msghdr {
            msg_iov: left.as_mut_ptr(),
            msg_iovlen: left.len() as _,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            ..*like
        }
    }

    /// The first buffer that has anything left.
    pub(crate) fn front(&self) -> Option<iovec> {
        self.left[self.first..].iter().find(|part| part.iov_len != 0).copied()
    }
}

/// A message that is nothing but a list of buffers, as `readv(2)` and `writev(2)` have it.
pub(crate) fn message_of(parts: *const iovec, count: libc::c_int) -> msghdr {
    // SAFETY: all zeros is a message without address, buffers and control data.
    let empty: msghdr = unsafe { std::mem::zeroed() };
    msghdr { msg_iov: parts.cast_mut(), msg_iovlen: count.max(0) as _, ..empty }
}

/// The bytes of a list.
///
/// # Safety
///
/// The list must be as `sendmsg(2)` asks for.
pub(crate) unsafe fn total(message: &msghdr) -> size_t {
    let count = message.msg_iovlen;
    if count == 0 {
        return 0;
    }
    // SAFETY: the caller vouches for the list.
    let list = unsafe { std::slice::from_raw_parts(message.msg_iov, count) };
    list.iter().map(|part| part.iov_len).sum()
}
