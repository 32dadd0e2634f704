//! What is read of libc's objects, whose insides are not public.
//!
//! A mutex's kind is where its static initialisers have always put it. Where a condition keeps its clock,
//! a semaphore or a lock that it is shared between processes, and a lock that it prefers writers, differs between versions of
//! libc: [`probe`] makes one of each sort and looks where they differ.

use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::time::Duration;

use libc::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, PTHREAD_PROCESS_SHARED, c_int, clockid_t, pthread_cond_t, pthread_mutex_t,
    pthread_rwlock_t, pthread_rwlockattr_t, sem_t, timespec,
};

/// Where the kind is in a mutex.
const KIND: usize = 16;

/// The kinds of mutex that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MutexKind {
    /// Robust, or with a priority protocol.
    Special,
    /// The default, and recursive ones.
    Plain,
    /// Knows an owner who locks twice.
    ErrorChecking,
    /// Spins.
    Adaptive,
}

/// Whether the kernel takes part in the mutex.
///
/// # Safety
///
/// It must be one.
#[inline(always)]
pub(super) unsafe fn is_special(mutex: *const pthread_mutex_t) -> bool {
    /// Robust, of inherited priority, of protected priority.
    const SPECIAL: c_int = 0x10 | 0x20 | 0x40;
    // SAFETY: the caller's mutex; of its kind, libc changes other bits only.
    let kind = unsafe { mutex.byte_add(KIND).cast::<c_int>().read_volatile() };
    kind & SPECIAL != 0
}

/// The kind of a mutex.
///
/// # Safety
///
/// It must be one.
pub(super) unsafe fn mutex_kind(mutex: *const pthread_mutex_t) -> MutexKind {
    // SAFETY: the caller's mutex.
    if unsafe { is_special(mutex) } {
        return MutexKind::Special;
    }
    // SAFETY: as above.
    match unsafe { mutex.byte_add(KIND).cast::<c_int>().read_volatile() } & 3 {
        2 => MutexKind::ErrorChecking,
        3 => MutexKind::Adaptive,
        _ => MutexKind::Plain,
    }
}

/// The clock of `pthread_cond_timedwait`.
///
/// # Safety
///
/// It must be a condition.
pub(super) unsafe fn clock(condition: *const pthread_cond_t) -> Option<clockid_t> {
    // SAFETY: the caller's condition.
    let monotonic = unsafe { MONOTONIC.get()?.is_in(condition) };
    Some(if monotonic { CLOCK_MONOTONIC } else { CLOCK_REALTIME })
}

/// Whether the lock may become free without an unlock here: by another process that shares it, or, if it holds back
/// readers for a thread that waits to write, because that one has given up.
///
/// # Safety
///
/// It must be one.
pub(super) unsafe fn may_become_free_unseen(lock: *const pthread_rwlock_t) -> bool {
    // SAFETY: the caller's lock.
    [&SHARED_LOCK, &WRITERS_FIRST].into_iter().any(|mark| mark.get().is_none_or(|mark| unsafe { mark.is_in(lock) }))
}

/// Whether the semaphore may be shared with other processes.
///
/// # Safety
///
/// It must be one.
pub(super) unsafe fn is_shared_semaphore(semaphore: *const sem_t) -> bool {
    // SAFETY: the caller's semaphore.
    SHARED_SEMAPHORE.get().is_none_or(|mark| unsafe { mark.is_in(semaphore) })
}

/// A time, so long from now, by the clock of `pthread_mutex_timedlock`.
pub(super) fn from_now(time: Duration) -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    unsafe { libc::clock_gettime(CLOCK_REALTIME, &raw mut now) };
    let nanos = now.tv_nsec + i64::from(time.subsec_nanos());
    timespec { tv_sec: now.tv_sec + time.as_secs() as i64 + nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 }
}

/// The mark of a condition with a monotonic clock.
static MONOTONIC: OnceLock<Mark> = OnceLock::new();
/// The mark of a lock that is shared with other processes.
static SHARED_LOCK: OnceLock<Mark> = OnceLock::new();
/// The mark of a lock that holds back readers for writers.
static WRITERS_FIRST: OnceLock<Mark> = OnceLock::new();
/// The mark of a semaphore that is shared with other processes.
static SHARED_SEMAPHORE: OnceLock<Mark> = OnceLock::new();

/// Bits that tell one sort of an object from another.
struct Mark {
    /// Which byte.
    offset: usize,
    /// Which bits.
    mask: u8,
    /// What they are in the sort with the mark.
    value: u8,
}

impl Mark {
    /// The first byte in which the two differ.
    fn between<T>(without: &MaybeUninit<T>, with: &MaybeUninit<T>) -> Option<Mark> {
        // SAFETY: both were all zeros before libc initialised them.
        let bytes = |object: &MaybeUninit<T>, offset| unsafe { object.as_ptr().cast::<u8>().add(offset).read() };
        let differ = |offset: usize| (bytes(without, offset) != bytes(with, offset)).then_some(offset);
        let offset = (0..size_of::<T>()).find_map(differ)?;
        let (without, with) = (bytes(without, offset), bytes(with, offset));
        Some(Mark { offset, mask: without ^ with, value: with & (without ^ with) })
    }

    /// Whether an object has it.
    ///
    /// # Safety
    ///
    /// It must be one of the sort that was looked at.
    unsafe fn is_in<T>(&self, object: *const T) -> bool {
        // SAFETY: within the object; what others write at the same time are not these bits.
        unsafe { object.cast::<u8>().add(self.offset).read_volatile() & self.mask == self.value }
    }
}

/// Finds the marks.
pub(super) fn probe() {
    let keep = |place: &OnceLock<Mark>, mark: Option<Mark>| {
        if let Some(mark) = mark {
            let _ = place.set(mark);
        }
    };
    keep(&MONOTONIC, conditions());
    // SAFETY: attributes that `locks` has initialised.
    keep(&SHARED_LOCK, locks(|how| unsafe { libc::pthread_rwlockattr_setpshared(how, PTHREAD_PROCESS_SHARED) }));
    // SAFETY: as above.
    keep(&WRITERS_FIRST, locks(|how| unsafe { libc::pthread_rwlockattr_setkind_np(how, WRITERS_FIRST_NP) }));
    keep(&SHARED_SEMAPHORE, semaphores());
}

/// Two conditions.
fn conditions() -> Option<Mark> {
    let (mut plain, mut monotonic) = (MaybeUninit::zeroed(), MaybeUninit::zeroed());
    let mut how = MaybeUninit::uninit();
    // SAFETY: each is initialised before it is used, and none is used after it was destroyed.
    unsafe {
        libc::pthread_condattr_init(how.as_mut_ptr());
        libc::pthread_cond_init(plain.as_mut_ptr(), how.as_ptr());
        libc::pthread_condattr_setclock(how.as_mut_ptr(), CLOCK_MONOTONIC);
        libc::pthread_cond_init(monotonic.as_mut_ptr(), how.as_ptr());
        libc::pthread_condattr_destroy(how.as_mut_ptr());
    }
    Mark::between::<pthread_cond_t>(&plain, &monotonic)
}

/// `PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP`: the one kind that prefers writers, whatever others are called.
const WRITERS_FIRST_NP: c_int = 2;

/// Two locks: a plain one, and one with attributes that `set` changes.
fn locks(set: impl FnOnce(*mut pthread_rwlockattr_t) -> c_int) -> Option<Mark> {
    let (mut plain, mut other) = (MaybeUninit::zeroed(), MaybeUninit::zeroed());
    let mut how = MaybeUninit::uninit();
    // SAFETY: as above.
    unsafe {
        libc::pthread_rwlockattr_init(how.as_mut_ptr());
        libc::pthread_rwlock_init(plain.as_mut_ptr(), how.as_ptr());
        set(how.as_mut_ptr());
        libc::pthread_rwlock_init(other.as_mut_ptr(), how.as_ptr());
        libc::pthread_rwlockattr_destroy(how.as_mut_ptr());
    }
    Mark::between::<pthread_rwlock_t>(&plain, &other)
}

/// Two semaphores.
fn semaphores() -> Option<Mark> {
    let (mut private, mut shared) = (MaybeUninit::zeroed(), MaybeUninit::zeroed());
    // SAFETY: room for one each.
    unsafe {
        libc::sem_init(private.as_mut_ptr(), 0, 1);
        libc::sem_init(shared.as_mut_ptr(), 1, 1);
    }
    Mark::between::<sem_t>(&private, &shared)
}
