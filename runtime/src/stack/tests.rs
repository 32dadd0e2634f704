//! What the pool promises.

mod guards;

use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use corosensei::stack::Stack as _;
use corosensei::{Coroutine, CoroutineResult};

use super::own_process::in_own_process;
use super::size::{COLOUR, COLOURS, DEFAULT, MAXIMUM, MINIMUM};
use super::*;

/// Both ways to make guards.
const BOTH: [Guards; 2] = [Guards::Markers, Guards::Protection];
/// Marks that are passed soon.
const LOW: Marks = Marks { warm: 16, cool: 32, patient: 0 };

/// A pool with low marks.
fn pool(guards: Guards) -> StackPool {
    StackPool::with(guards, LOW)
}

/// `count` stacks of the default size.
fn take(pool: &StackPool, count: usize) -> Vec<Stack> {
    (0..count).map(|_| pool.take(None).unwrap()).collect()
}

/// Writes to an address of a stack.
fn poke(address: usize, value: u64) {
    // SAFETY: the tests pass addresses in stacks that they hold and that nobody runs on, or mean to
    // fault.
    unsafe { ptr_at(address).write_volatile(value) };
}

/// Reads what `poke` wrote.
fn peek(address: usize) -> u64 {
    // SAFETY: as for `poke`.
    unsafe { ptr_at(address).read_volatile() }
}

/// The address as a pointer.
fn ptr_at(address: usize) -> *mut u64 {
    std::ptr::with_exposed_provenance_mut(address)
}

/// How many pages in `range` are backed by memory.
fn resident(range: Range<usize>) -> usize {
    let mut pages = vec![0u8; range.len().div_ceil(os::page_size())];
    // SAFETY: there is a byte for each page of the range.
    let status = unsafe { libc::mincore(range.start as *mut _, range.len(), pages.as_mut_ptr().cast()) };
    if status != 0 {
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::ENOMEM), "is not mapped any more");
        return 0;
    }
    pages.iter().filter(|&&page| page & 1 != 0).count()
}

/// Runs `body` in a forked child, which lives 20 seconds at most; the signal that ended it, if any.
fn in_child(body: impl FnOnce()) -> Option<i32> {
    // SAFETY: the child calls nothing but `body`, which keeps away from locks that other threads of
    // the parent may hold (glibc sees to it that the allocator's are not), and ends at once.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: the watchdog; faults end the child as they do by default, without a core file.
        unsafe {
            libc::alarm(20);
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
            libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
        }
        let status = panic::catch_unwind(AssertUnwindSafe(body)).is_err();
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(i32::from(status)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    if libc::WIFSIGNALED(status) {
        return Some(libc::WTERMSIG(status));
    }
    assert_eq!(libc::WEXITSTATUS(status), 0, "the child panicked");
    None
}

/// Whether a write to `address` faults.
fn faults(address: usize) -> bool {
    match in_child(|| poke(address, 1)) {
        None => false,
        Some(libc::SIGSEGV | libc::SIGBUS) => true,
        Some(signal) => panic!("signal {signal}"),
    }
}

/// Whether any map of this process has `address` in it.
fn is_mapped(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        (usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap()).contains(&address)
    })
}

/// A repeatable source of numbers below `bound`.
fn random(state: &mut u64, bound: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state % bound as u64) as usize
}

#[test]
fn the_last_stack_given_is_the_first_taken() {
    let pool = pool(Guards::Markers);
    let stacks = take(&pool, 3);
    let bases: Vec<_> = stacks.iter().map(|stack| stack.base).collect();
    stacks.into_iter().for_each(|stack| pool.give(stack));
    let again: Vec<_> = take(&pool, 3).iter().map(|stack| stack.base).collect();
    assert_eq!(again, bases.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn a_stack_is_small() {
    assert!(size_of::<io::Result<Stack>>() <= 16);
}

#[test]
fn neighbours_start_at_different_colours() {
    let pool = pool(Guards::Markers);
    let stacks = take(&pool, 100);
    let slot = pool.default.borrow().layout.slot;
    let mut offsets: Vec<_> = stacks.iter().map(|stack| stack.guard().start + slot - stack.base.get()).collect();
    assert!(offsets.iter().all(|offset| offset % COLOUR == 0 && offset / COLOUR < COLOURS));
    offsets[..COLOURS].sort_unstable();
    offsets[..COLOURS].windows(2).for_each(|pair| assert_eq!(pair[1] - pair[0], COLOUR));
}

#[test]
fn a_stack_keeps_its_promises() {
    for guards in BOTH {
        let pool = pool(guards);
        let stacks: Vec<_> = [None, Some(0), Some(100_000), Some(3 << 20)]
            .into_iter()
            .flat_map(|usable| (0..40).map(move |_| usable))
            .map(|usable| (usable.unwrap_or(DEFAULT), pool.take(usable).unwrap()))
            .collect();
        for (usable, stack) in &stacks {
            assert_eq!(stack.base().get() % 16, 0);
            assert_eq!(stack.limit().get(), stack.guard().start);
            assert!(stack.guard().len() >= 64 << 10);
            assert!(stack.usable() >= *usable);
            assert!(stack.memory().len() >= stack.usable());
            poke(stack.memory().start, 1);
            poke(stack.memory().end - 8, 1);
        }
        let mut all: Vec<_> = stacks.iter().map(|(_, stack)| stack.guard().start..stack.base.get()).collect();
        all.sort_by_key(|range| range.start);
        all.windows(2).for_each(|pair| assert!(pair[0].end <= pair[1].start));
    }
}

#[test]
fn idle_stacks_give_their_pages_back() {
    let pool = pool(Guards::Markers);
    let (stacks, _keep_all_regions_mapped): (Vec<_>, Vec<_>) =
        take(&pool, 320).into_iter().enumerate().partition(|(i, _)| i % 16 != 0);
    let stacks: Vec<_> = stacks.into_iter().map(|(_, stack)| stack).collect();
    let ranges: Vec<_> = stacks.iter().map(|stack| stack.guard().end..stack.guard().end + DEFAULT + UNIT).collect();
    for stack in stacks {
        for page in 0..3 {
            poke(stack.memory().end - 8 - page * 2 * UNIT, 1);
        }
        pool.give(stack);
    }
    let pages: Vec<_> = ranges.into_iter().map(resident).collect();
    let warm = pages.iter().rev().take_while(|&&pages| pages == 3).count();
    let cool = pages.iter().rev().skip(warm).take_while(|&&pages| pages == 1).count();
    let cold = pages.iter().rev().skip(warm + cool).take_while(|&&pages| pages == 0).count();
    assert!((LOW.warm..=LOW.warm + BATCH).contains(&warm), "{pages:?}");
    assert_eq!(cool, LOW.cool, "{pages:?}");
    assert_eq!(warm + cool + cold, 300, "{pages:?}");
}

#[test]
fn a_page_is_given_back_once_for_each_use() {
    let pool = pool(Guards::Markers);
    let _keeps_the_region_mapped = pool.take(None).unwrap();
    let stacks = take(&pool, 150);
    let first = stacks[0].memory();
    let mut stacks = stacks.into_iter();
    stacks.by_ref().take(90).for_each(|stack| pool.give(stack));
    assert_eq!(resident(first.start..first.start + UNIT), 0);
    poke(first.start, 1);
    stacks.for_each(|stack| pool.give(stack));
    assert!(pool.default.borrow().cold() > 0);
    assert_eq!(resident(first.start..first.start + UNIT), 1, "was given back a second time");
}

#[test]
fn stacks_are_used_again_before_new_ones_are_made() {
    let pool = pool(Guards::Markers);
    take(&pool, 300).into_iter().for_each(|stack| pool.give(stack));
    let stacks = take(&pool, 300);
    assert_eq!(pool.default.borrow().used(), 300);
    stacks.into_iter().for_each(|stack| pool.give(stack));
}

#[test]
fn a_peak_leaves_few_regions_behind() {
    let pool = pool(Guards::Markers);
    let mut seed = 1;
    for _ in 0..3 {
        let mut stacks = take(&pool, 10_000);
        assert!(pool.default.borrow().regions.len() < 20);
        while !stacks.is_empty() {
            let stack = stacks.swap_remove(random(&mut seed, stacks.len()));
            pool.give(stack);
        }
        let class = pool.default.borrow();
        assert_eq!(class.used(), class.idle());
        let left = class.regions.iter().flatten().count();
        assert!(left <= 2 && class.used() >= LOW.warm + LOW.cool, "{left} regions, {} stacks", class.used());
    }
}

#[test]
fn whatever_the_order_no_stack_is_handed_out_twice() {
    for (guards, seed) in BOTH.into_iter().zip([3, 5]) {
        let (pool, mut seed) = (pool(guards), seed);
        let sizes = [None, None, None, Some(40_000), Some(1 << 20)];
        let mut out: HashMap<u64, Stack> = HashMap::new();
        let mut bound = 1;
        for tag in 0..20_000 {
            if tag % 500 == 0 {
                bound = 1 + random(&mut seed, 600);
            }
            while out.len() >= bound {
                let (&tag, _) = out.iter().nth(random(&mut seed, out.len().min(8))).unwrap();
                let stack = out.remove(&tag).unwrap();
                assert_eq!(peek(stack.memory().end - 8), tag);
                assert_eq!(peek(stack.memory().start), tag);
                pool.give(stack);
            }
            let stack = pool.take(sizes[random(&mut seed, sizes.len())]).unwrap();
            poke(stack.memory().end - 8, tag);
            poke(stack.memory().start, tag);
            out.insert(tag, stack);
        }
    }
}

#[test]
fn each_size_class_has_its_own_stacks() {
    let pool = pool(Guards::Markers);
    let small = pool.take(Some(1)).unwrap();
    assert_eq!(small.usable(), MINIMUM);
    let base = small.base;
    pool.give(small);
    let large = pool.take(Some(5_000_000)).unwrap();
    assert!((5_000_000..6_250_000).contains(&large.usable()));
    assert_ne!(large.base, base);
    assert_ne!(pool.take(None).unwrap().base, base);
    assert_eq!(pool.take(Some(MINIMUM - 1)).unwrap().base, base);
    assert_eq!(pool.take(Some(DEFAULT)).unwrap().usable(), DEFAULT);
}

#[test]
fn impossible_sizes_are_errors() {
    let pool = pool(Guards::Markers);
    for size in [MAXIMUM + 1, usize::MAX] {
        assert_eq!(pool.take(Some(size)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    let largest = pool.take(Some(MAXIMUM)).unwrap();
    assert_eq!(largest.usable(), MAXIMUM);
    poke(largest.memory().start, 1);
}

#[test]
fn without_address_space_there_is_an_error_that_names_the_size() {
    let status = in_child(|| {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let now = pages.split(' ').next().unwrap().parse::<usize>().unwrap() * os::page_size();
        let most = now as libc::rlim_t + (1 << 30);
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: the limit is the child's own.
        unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
        let pool = pool(Guards::Markers);
        let mut out = Vec::new();
        let error = loop {
            match pool.take(None) {
                Ok(stack) => out.push(stack),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains(&DEFAULT.to_string()), "{error}");
        assert!(out.len() > 2000, "smaller regions were tried: {}", out.len());
        pool.give(out.pop().unwrap());
        assert!(pool.take(None).is_ok());
    });
    assert_eq!(status, None);
}

#[test]
fn without_maps_there_is_an_error_and_the_program_goes_on() {
    let status = in_child(|| {
        let pool = pool(Guards::Protection);
        let mut out = Vec::new();
        let error = loop {
            match pool.take(None) {
                Ok(stack) => out.push(stack),
                Err(error) => break error,
            }
            assert!(out.len() < 100_000);
        };
        assert!(error.to_string().contains("vm.max_map_count"), "{error}");
        assert!(out.len() > 1000);
        // The allocator still gets maps of its own, and unmapping makes room again.
        let large: Vec<_> = (0..100).map(|_| vec![1u8; 1 << 20]).collect();
        assert_eq!(large.len(), 100);
        out.drain(..).for_each(|stack| pool.give(stack));
        drop(pool);
        let pool = StackPool::with(Guards::Protection, LOW);
        take(&pool, 100);
    });
    assert_eq!(status, None);
}

#[test]
fn dropping_the_pool_unmaps_all_but_leaked_stacks() {
    for guards in BOTH {
        // In a process without other threads, which could map something else in the same place.
        let status = in_child(|| {
            let pool = pool(guards);
            let leaked = pool.take(Some(MINIMUM)).unwrap();
            let mut stacks = take(&pool, 100);
            stacks.push(pool.take(Some(1 << 20)).unwrap());
            let addresses: Vec<_> = stacks.iter().map(|stack| stack.memory().start).collect();
            assert!(addresses.iter().all(|&address| is_mapped(address)));
            stacks.into_iter().for_each(|stack| pool.give(stack));
            drop(pool);
            assert!(!addresses.iter().any(|&address| is_mapped(address)));
            poke(leaked.memory().start, 1);
            assert!(is_mapped(leaked.guard().start));
        });
        assert_eq!(status, None, "{guards:?}");
    }
}

#[test]
#[ignore = "takes 640 MB of page tables"]
fn a_million_stacks_need_few_maps() {
    // In a process that no other test forks, which would copy all those page tables.
    let outcome = in_own_process(concat!(module_path!(), "::a_million_stacks_need_few_maps"), &[], || {
        let pool = StackPool::new();
        let stacks = take(&pool, 1_000_000);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        assert!(maps < 100, "{maps}");
        stacks.into_iter().for_each(|stack| pool.give(stack));
        assert!(pool.default.borrow().used() < 100_000, "{}", pool.default.borrow().used());
    });
    let Some(outcome) = outcome else { return };
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

/// Calls itself until less than `reserve` bytes of the stack are left; then `bottom`.
#[inline(never)]
fn descend(lowest: usize, reserve: usize, bottom: &mut dyn FnMut()) -> u64 {
    let here = std::hint::black_box(0u64);
    if (&raw const here).addr() < lowest + reserve {
        bottom();
        return 0;
    }
    1 + descend(lowest, reserve, bottom) + here
}

#[test]
fn recursion_to_just_above_the_guard_works() {
    let pool = pool(Guards::Markers);
    for usable in [None, Some(MINIMUM), Some(1 << 20)] {
        let stack = pool.take(usable).unwrap();
        let memory = stack.memory();
        let mut run: Coroutine<(), (), u64, Stack> =
            Coroutine::with_stack(stack, move |_, ()| descend(memory.start, 1024, &mut || ()));
        match run.resume(()) {
            CoroutineResult::Return(depth) => assert!(depth > 10, "{depth}"),
            CoroutineResult::Yield(()) => unreachable!(),
        }
        pool.give(run.into_stack());
    }
}

#[test]
fn the_smallest_stack_is_enough_for_a_panic_with_a_backtrace() {
    let path = concat!(module_path!(), "::the_smallest_stack_is_enough_for_a_panic_with_a_backtrace");
    let outcome = in_own_process(path, &[("RUST_BACKTRACE", "full")], || {
        let pool = pool(Guards::Markers);
        let mut run: Coroutine<(), (), bool, Stack> =
            Coroutine::with_stack(pool.take(Some(0)).unwrap(), |_, ()| panic::catch_unwind(|| panic!("here")).is_err());
        assert!(matches!(run.resume(()), CoroutineResult::Return(true)));
    });
    let Some(outcome) = outcome else { return };
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("stack backtrace:"), "{}", outcome.stderr);
}

#[test]
fn stacks_above_the_mark_keep_their_pages_for_a_second() {
    let pool = StackPool::with(Guards::Markers, Marks { patient: 4096, ..LOW });
    let _keeps_the_region_mapped = pool.take(None).unwrap();
    let stacks = take(&pool, 3000);
    let first = stacks[0].memory();
    poke(first.start, 1);
    let given = Instant::now();
    stacks.into_iter().for_each(|stack| pool.give(stack));
    let early = resident(first.start..first.start + UNIT);
    assert!(early == 1 || given.elapsed() > Duration::from_secs(1));
    let mut rounds = 0;
    while let Some(left) = pool.tidy() {
        assert!(left <= Duration::from_secs(1));
        std::thread::sleep(left);
        rounds += 1;
    }
    assert!(given.elapsed() >= Duration::from_secs(1));
    assert!(rounds > 2, "in slices");
    assert_eq!(resident(first.start..first.start + UNIT), 0);
    let class = pool.default.borrow();
    assert_eq!(class.idle() - class.cold(), LOW.warm + LOW.cool);
}
