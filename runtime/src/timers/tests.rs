use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One call, as proptest makes them up.
#[derive(Clone, Debug)]
enum Call {
    /// Insert with this deadline.
    Insert(u64),
    /// Remove by one of the keys made so far, stale ones too.
    Remove(usize),
    /// Pop what is expired at this time, until nothing is.
    Expire(u64),
    /// As many insertions as it takes to outgrow `KEEP`, then remove all but every `n`th of them.
    Burst(usize),
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        // Few distinct deadlines, so that many are equal.
        40 => (0..16_u64).prop_map(Call::Insert),
        30 => any::<usize>().prop_map(Call::Remove),
        5 => (0..16_u64).prop_map(Call::Expire),
        1 => (1..5000_usize).prop_map(Call::Burst),
    ]
}

/// The timers, and a sorted list that says what they must do.
struct Pair {
    timers: Timers<u64>,
    /// (deadline, number of the insertion) to its key; the number is the target.
    list: BTreeMap<(u64, u64), TimerKey>,
    /// Every key ever made, with where it was in `list`.
    keys: Vec<(TimerKey, (u64, u64))>,
}

impl Pair {
    fn run(&mut self, call: Call) {
        match call {
            Call::Insert(deadline) => self.insert(deadline),
            Call::Remove(pick) => {
                if let Some(number) = pick.checked_rem(self.keys.len()) {
                    self.remove(number);
                }
            }
            Call::Expire(now) => self.expire(now),
            Call::Burst(nth) => {
                let from = self.keys.len();
                (0..5000).for_each(|i| self.insert(i % 7 + i % 3));
                self.check();
                (from..self.keys.len()).filter(|i| i % nth != 0).for_each(|i| self.remove(i));
            }
        }
        self.check();
    }

    fn insert(&mut self, deadline: u64) {
        let number = self.keys.len() as u64;
        let key = self.timers.insert(deadline, number);
        self.list.insert((deadline, number), key);
        self.keys.push((key, (deadline, number)));
    }

    fn remove(&mut self, number: usize) {
        let (key, listed) = self.keys[number];
        assert_eq!(self.timers.remove(key), self.list.remove(&listed).is_some());
    }

    fn expire(&mut self, now: u64) {
        while let Some(target) = self.timers.pop_expired(now) {
            let ((deadline, number), _) = self.list.pop_first().expect("popped more than was inserted");
            assert!(deadline <= now);
            assert_eq!(target, number);
        }
        assert!(self.list.keys().next().is_none_or(|(deadline, _)| *deadline > now));
    }

    /// The list agrees, the heap is a heap, and each slot is in use or free, never both.
    fn check(&self) {
        let Timers { heap, slots, free, .. } = &self.timers;
        assert_eq!(self.timers.len(), self.list.len());
        assert_eq!(self.timers.is_empty(), self.list.is_empty());
        assert_eq!(self.timers.next_deadline(), self.list.keys().next().map(|(deadline, _)| *deadline));
        let mut seen = vec![false; slots.len()];
        for (place, entry) in heap.iter().enumerate() {
            assert!(place == 0 || heap[(place - 1) / ARITY].is_before(entry));
            assert_eq!(slots[entry.slot as usize].place as usize, place);
            assert!(!std::mem::replace(&mut seen[entry.slot as usize], true));
        }
        let mut next = *free;
        while next != NO_SLOT {
            assert!(!std::mem::replace(&mut seen[next as usize], true));
            next = slots[next as usize].place;
        }
        assert!(seen.iter().all(|seen| *seen), "a slot is lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 64 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn do_what_a_sorted_list_does(calls in prop::collection::vec(call(), 0..200)) {
        let mut pair = Pair { timers: Timers::new(), list: BTreeMap::new(), keys: Vec::new() };
        for call in calls {
            pair.run(call);
        }
        pair.expire(u64::MAX);
        prop_assert!(pair.timers.is_empty());
    }
}

#[test]
fn equal_deadlines_expire_in_order_of_insertion() {
    let mut timers = Timers::new();
    let keys: Vec<_> = (0..100).map(|i| timers.insert(7, i)).collect();
    keys.iter().skip(3).step_by(5).for_each(|key| assert!(timers.remove(*key)));
    let order: Vec<_> = std::iter::from_fn(|| timers.pop_expired(7)).collect();
    assert_eq!(order, (0..100).filter(|i| i % 5 != 3).collect::<Vec<_>>());
}

#[test]
fn a_stale_key_names_nothing() {
    let mut timers = Timers::new();
    let first = timers.insert(1, 'a');
    assert_eq!(timers.pop_expired(1), Some('a'));
    let second = timers.insert(1, 'b');
    assert_eq!(first.slot, second.slot, "the slot is used again");
    assert!(!timers.remove(first));
    assert!(timers.remove(second));
    assert!(!timers.remove(second));
    assert!(timers.is_empty());
}

#[test]
fn memory_goes_back_after_a_burst() {
    let mut timers = Timers::new();
    let stays = timers.insert(u64::MAX, 0);
    // One round where the slots come free in order, and one where they do not.
    for step in [1, 7919] {
        for i in 0..100_000 {
            timers.insert(i * step % 100_000, i);
        }
        while timers.pop_expired(100_000).is_some() {}
        assert_eq!(timers.len(), 1);
        let (entries, slots) = (timers.heap.capacity(), timers.slots.capacity());
        assert!(entries <= KEEP, "room for {entries} entries");
        assert!(slots <= KEEP, "room for {slots} slots");
    }
    assert!(timers.remove(stays));
}

#[test]
fn a_key_is_two_words_and_so_is_an_optional_one() {
    assert_eq!(size_of::<Option<TimerKey>>(), 16);
}
