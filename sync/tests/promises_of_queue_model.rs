//! `Queue` beside a simple model, with random calls, kills and closing.

mod support;

use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;
use support::started;
use sward::Greenlet;
use sward::sync::Queue;

/// What may happen to a queue.
#[derive(Clone, Copy, Debug)]
enum Step {
    Put,
    Get,
    TryPut,
    TryGet,
    Kill(usize),
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Put),
        6 => Just(Step::Get),
        2 => Just(Step::TryPut),
        2 => Just(Step::TryGet),
        4 => (0..20_usize).prop_map(Step::Kill),
        1 => Just(Step::Close),
    ];
    proptest::collection::vec(step, 1..80)
}

/// What is known of somebody: `None` while he waits.
type Outcome = Option<Result<Option<u32>, ()>>;

/// A queue in words that one sees to be right. Items are the numbers of those who put them.
#[derive(Default)]
struct Model {
    capacity: usize,
    items: VecDeque<u32>,
    putters: VecDeque<usize>,
    getters: VecDeque<usize>,
    closed: bool,
    outcomes: Vec<Outcome>,
}

impl Model {
    /// Whoever can be served is, until nobody can.
    fn run(&mut self) {
        loop {
            let next = self.items.front().copied().or(self.putters.front().map(|putter| *putter as u32));
            if let (Some(item), Some(&getter)) = (next, self.getters.front()) {
                if self.items.pop_front().is_none() {
                    let putter = self.putters.pop_front().unwrap();
                    self.outcomes[putter] = Some(Ok(None));
                }
                self.getters.pop_front();
                self.outcomes[getter] = Some(Ok(Some(item)));
            } else if self.items.len() < self.capacity && !self.putters.is_empty() {
                let putter = self.putters.pop_front().unwrap();
                self.items.push_back(putter as u32);
                self.outcomes[putter] = Some(Ok(None));
            } else {
                break;
            }
        }
        if self.closed {
            for putter in self.putters.drain(..) {
                self.outcomes[putter] = Some(Err(()));
            }
            for getter in self.getters.drain(..) {
                self.outcomes[getter] = Some(Ok(None));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does(capacity in 0..4_usize, steps in steps()) {
        let queue = Rc::new(Queue::bounded(capacity));
        let mut people: Vec<Greenlet<Result<Option<u32>, ()>>> = Vec::new();
        let mut killed = Vec::new();
        let mut model = Model { capacity, ..Model::default() };
        for step in steps {
            let number = people.len();
            match step {
                Step::Put | Step::Get => {
                    let queue = queue.clone();
                    let puts = matches!(step, Step::Put);
                    people.push(started(move || {
                        if puts {
                            queue.put(number as u32).map(|()| None).map_err(drop)
                        } else {
                            Ok(queue.get())
                        }
                    }));
                    killed.push(false);
                    model.outcomes.push(None);
                    match (puts, model.closed) {
                        (true, true) => model.outcomes[number] = Some(Err(())),
                        (true, false) => model.putters.push_back(number),
                        (false, _) => model.getters.push_back(number),
                    }
                }
                Step::TryPut => {
                    let result = queue.try_put(1000);
                    let has_room = model.items.len() < capacity || !model.getters.is_empty();
                    prop_assert_eq!(result.is_ok(), has_room && !model.closed);
                    if result.is_ok() {
                        model.items.push_back(1000);
                    }
                }
                Step::TryGet => {
                    let expected = model.items.pop_front().or_else(|| {
                        let putter = model.putters.pop_front()?;
                        model.outcomes[putter] = Some(Ok(None));
                        Some(putter as u32)
                    });
                    prop_assert_eq!(queue.try_get().ok(), expected);
                }
                Step::Kill(n) if n < people.len() => {
                    people[n].kill();
                    killed[n] = killed[n] || model.outcomes[n].is_none();
                    model.putters.retain(|putter| *putter != n);
                    model.getters.retain(|getter| *getter != n);
                }
                Step::Kill(_) => {}
                Step::Close => {
                    queue.close();
                    model.closed = true;
                }
            }
            model.run();
            prop_assert_eq!(queue.len(), model.items.len());
        }
        queue.close();
        model.closed = true;
        model.run();
        for (n, person) in people.into_iter().enumerate() {
            match person.join() {
                Ok(outcome) => prop_assert_eq!(Some(outcome), model.outcomes[n]),
                Err(_) => prop_assert!(killed[n]),
            }
        }
        prop_assert_eq!(queue.iter().collect::<Vec<_>>(), Vec::from(model.items));
    }
}
