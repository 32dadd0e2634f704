use std::{cell::RefCell, io, num::NonZeroUsize, ops::Range};
pub(crate) struct StackPool(RefCell<Vec<Stack>>);
impl StackPool {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(vec![]))
    }
    pub(crate) fn take(&self, u: Option<usize>) -> io::Result<Stack> {
        if u.is_none() {
            if let Some(s) = self.0.borrow_mut().pop() {
                return Ok(s);
            }
        }
        let size = u.unwrap_or(256 * 1024).max(16384);
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size + 65536,
                3,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if p == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        unsafe { libc::mprotect(p, 65536, 0) };
        Ok(Stack(p as usize, size))
    }
    pub(crate) fn give(&self, s: Stack) {
        if s.1 == 256 * 1024 {
            self.0.borrow_mut().push(s)
        }
    }
}
pub(crate) struct Stack(usize, usize);
impl Stack {
    pub(crate) fn usable(&self) -> usize {
        self.1
    }
    pub(crate) fn guard(&self) -> Range<usize> {
        self.0..self.0 + 65536
    }
}
unsafe impl corosensei::stack::Stack for Stack {
    fn base(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.0 + 65536 + self.1).unwrap()
    }
    fn limit(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.0).unwrap()
    }
}
pub(crate) mod overflow {
    pub(crate) struct Victim<'a> {
        pub name: Option<&'a str>,
        pub id: u64,
        pub stack_size: usize,
        pub spawned_at: &'static core::panic::Location<'static>,
    }
    pub(crate) type Describe = fn(address: usize, report: &mut dyn FnMut(Victim<'_>)) -> bool;
    pub(crate) fn install(_: Describe) {}
    pub(crate) struct AlternateStack;
    impl AlternateStack {
        pub(crate) fn new() -> std::io::Result<Self> {
            Ok(Self)
        }
    }
}
