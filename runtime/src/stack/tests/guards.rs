//! What guards promise.

use super::*;

#[test]
fn every_byte_of_a_guard_faults() {
    for guards in BOTH {
        let pool = pool(guards);
        let stacks = take(&pool, 70);
        for stack in stacks.iter().step_by(23) {
            let guard = stack.guard();
            for address in [guard.start, guard.start + (31 << 10), guard.end - 8] {
                assert!(faults(address), "{guards:?}: {address:#x} in {guard:#x?}");
            }
            assert!(!faults(guard.end));
        }
    }
}

#[test]
fn a_guard_outlives_the_pages_above_it() {
    for guards in BOTH {
        let pool = pool(guards);
        let _keeps_the_region_mapped = pool.take(None).unwrap();
        let stacks = take(&pool, 200);
        let guard = stacks[0].guard();
        stacks.into_iter().for_each(|stack| pool.give(stack));
        assert!(pool.default.borrow().cold() > 0);
        assert!(faults(guard.end - 8));
    }
}

#[test]
fn wide_guards_are_for_stacks_that_are_taken_later() {
    for guards in BOTH {
        let pool = pool(guards);
        let narrow = [pool.take(None).unwrap(), pool.take(Some(MINIMUM)).unwrap(), pool.take(Some(DEFAULT)).unwrap()];
        let idle = pool.take(None).unwrap();
        pool.give(idle);
        pool.widen(WIDE_GUARD);
        let sizes = [None, Some(0), Some(MINIMUM), Some(DEFAULT), Some(DEFAULT + 1)];
        let wide: Vec<_> = sizes.iter().map(|&size| pool.take(size).unwrap()).collect();
        for (size, stack) in sizes.iter().zip(&wide) {
            assert!(stack.usable() >= size.unwrap_or(DEFAULT).max(DEFAULT));
            assert_eq!(stack.guard().len(), WIDE_GUARD);
            for address in [stack.guard().start, stack.guard().end - 8] {
                assert!(faults(address), "{guards:?}: {address:#x}");
            }
            poke(stack.memory().start, 1);
        }
        for stack in narrow {
            assert_eq!(stack.guard().len(), GUARD);
            poke(stack.memory().start, 1);
            pool.give(stack);
        }
        let (used, retired) = pool.custom.borrow().iter().fold((0, 0), |(used, retired), class| {
            if class.layout.guard == GUARD { (used + class.used(), retired + 1) } else { (used, retired) }
        });
        assert_eq!((used, retired), (0, 2), "unmapped");
        wide.into_iter().for_each(|stack| pool.give(stack));
    }
    let pool = pool(Guards::Markers);
    let old = take(&pool, 500);
    pool.widen(WIDE_GUARD);
    old.into_iter().for_each(|stack| pool.give(stack));
    assert!(take(&pool, 500).iter().all(|stack| stack.guard().len() == WIDE_GUARD));
}

#[test]
fn guards_are_made_as_stacks_are_needed() {
    let pool = pool(Guards::Markers);
    let first = take(&pool, 3);
    let layout = pool.default.borrow().layout;
    let region = pool.default.borrow().regions[0].as_ref().unwrap().range(&layout);
    assert!(region.len() <= 8 << 20, "a few greenlets are cheap: {region:#x?}");
    assert!(!faults(first[0].guard().start + 8 * layout.slot));
}
