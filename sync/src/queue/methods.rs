//! The public methods, which are the same for the three queues.

/// Gives `$Queue` its methods; `$Store` orders its items, which must be `$bound`.
macro_rules! queue_methods {
    ($Queue:ident, $Store:ident, [$($bound:ident)?]) => {
        const _: () = {
            /// What the calls are called.
            static NAMES: Names = Names {
                queue: stringify!($Queue),
                put: concat!(stringify!($Queue), "::put"),
                get: concat!(stringify!($Queue), "::get"),
                peek: concat!(stringify!($Queue), "::peek"),
                join: concat!(stringify!($Queue), "::join"),
            };

            impl<T $(: $bound)?> $Queue<T> {
                /// A queue with room for any number of items.
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::<u32>::unbounded();")]
                /// assert_eq!(queue.capacity(), None);
                /// ```
                pub const fn unbounded() -> Self {
                    $Queue { core: Core::new($Store::new(), UNBOUNDED, &NAMES) }
                }

                /// A queue with room for `capacity` items; 0 is a rendezvous, whose `put` returns once the
                /// item was taken.
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::<u32>::bounded(2);")]
                /// assert_eq!(queue.capacity(), Some(2));
                /// ```
                pub const fn bounded(capacity: usize) -> Self {
                    $Queue { core: Core::new($Store::new(), capacity, &NAMES) }
                }

                /// Puts an item; waits for room. Blocks the greenlet.
                ///
                /// # Errors
                ///
                /// The item comes back if the queue is closed, also while this waits; and if there is no
                /// room while a destructor runs in an unwinding, which cannot wait.
                ///
                /// # Panics
                ///
                /// On the root stack, if there can never be room ("deadlock").
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::bounded(1);")]
                /// queue.put("item").unwrap();
                /// assert_eq!(queue.len(), 1);
                /// ```
                #[inline]
                pub fn put(&self, item: T) -> Result<(), Closed<T>> {
                    self.core.put(item)
                }

                /// Puts an item if there is room, or somebody who waits for it.
                ///
                /// # Errors
                ///
                /// The item comes back if there is not, or if the queue is closed.
                ///
                /// ```
                /// use sward::sync::TryPutError;
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::bounded(1);")]
                /// assert_eq!(queue.try_put(1), Ok(()));
                /// assert_eq!(queue.try_put(2), Err(TryPutError::Full(2)));
                /// ```
                #[inline]
                pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
                    self.core.try_put(item)
                }

                /// As `put`, for at most `limit`. Blocks the greenlet.
                ///
                /// # Errors
                ///
                /// The item comes back if the limit passes or the queue is closed.
                ///
                /// # Panics
                ///
                /// Never on its own account.
                ///
                /// ```
                /// use std::time::Duration;
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::bounded(1);")]
                /// assert!(queue.put_timeout(1, Duration::from_millis(1)).is_ok());
                /// assert!(queue.put_timeout(2, Duration::from_millis(1)).is_err());
                /// ```
                pub fn put_timeout(&self, item: T, limit: Duration) -> Result<(), PutTimeoutError<T>> {
                    self.core.put_timeout(item, limit)
                }

                /// Gets an item; waits for one. `None` if the queue is closed and empty (or if it is empty
                /// while a destructor runs in an unwinding, which cannot wait). Blocks the greenlet.
                ///
                /// # Panics
                ///
                /// On the root stack, if an item can never come ("deadlock").
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::unbounded();")]
                /// queue.put(1).unwrap();
                /// queue.close();
                /// assert_eq!((queue.get(), queue.get()), (Some(1), None));
                /// ```
                #[inline]
                pub fn get(&self) -> Option<T> {
                    self.core.get()
                }

                /// Gets an item if there is one.
                ///
                /// # Errors
                ///
                /// If there is none now, or if there will never be one.
                ///
                /// ```
                /// use sward::sync::TryGetError;
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::<u32>::unbounded();")]
                /// assert_eq!(queue.try_get(), Err(TryGetError::Empty));
                /// queue.close();
                /// assert_eq!(queue.try_get(), Err(TryGetError::Closed));
                /// ```
                #[inline]
                pub fn try_get(&self) -> Result<T, TryGetError> {
                    self.core.try_get()
                }

                /// As `get`, for at most `limit`. Blocks the greenlet.
                ///
                /// # Errors
                ///
                /// If the limit passes, or the queue is closed and empty.
                ///
                /// # Panics
                ///
                /// Never on its own account.
                ///
                /// ```
                /// use std::time::Duration;
                /// use sward::sync::GetTimeoutError;
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::<u32>::unbounded();")]
                /// assert_eq!(queue.get_timeout(Duration::from_millis(1)), Err(GetTimeoutError::Timeout));
                /// ```
                pub fn get_timeout(&self, limit: Duration) -> Result<T, GetTimeoutError> {
                    self.core.get_timeout(limit)
                }

                /// A clone of what `get` would return, which stays in the queue. Waits as `get`. Blocks the
                /// greenlet.
                ///
                /// # Panics
                ///
                /// As `get`; passes on a panic of `clone`.
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::unbounded();")]
                /// queue.put(1).unwrap();
                /// assert_eq!((queue.peek(), queue.get()), (Some(1), Some(1)));
                /// ```
                pub fn peek(&self) -> Option<T>
                where
                    T: Clone,
                {
                    self.core.peek()
                }

                /// How many items are in the queue; those of waiting putters are not.
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::unbounded();")]
                /// queue.put(1).unwrap();
                /// assert_eq!(queue.len(), 1);
                /// ```
                #[inline]
                pub fn len(&self) -> usize {
                    self.core.len()
                }

                /// Whether there are no items in the queue.
                ///
                /// ```
                #[doc = concat!("assert!(sward::sync::", stringify!($Queue), "::<u32>::unbounded().is_empty());")]
                /// ```
                #[inline]
                pub fn is_empty(&self) -> bool {
                    self.core.len() == 0
                }

                /// Whether there is no room in the queue. A rendezvous never has room.
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::bounded(1);")]
                /// queue.put(1).unwrap();
                /// assert!(queue.is_full());
                /// ```
                #[inline]
                pub fn is_full(&self) -> bool {
                    self.core.is_full()
                }

                /// For how many items there is room; `None` if for any number.
                ///
                /// ```
                #[doc = concat!("assert_eq!(sward::sync::", stringify!($Queue), "::<u32>::bounded(7).capacity(), Some(7));")]
                /// ```
                pub fn capacity(&self) -> Option<usize> {
                    self.core.capacity()
                }

                /// Closes the queue: nothing more goes in. What is in can still be got; those who wait to put
                /// have their items back. Idempotent.
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::unbounded();")]
                /// queue.close();
                /// assert!(queue.put(1).is_err());
                /// assert_eq!(queue.get(), None);
                /// ```
                pub fn close(&self) {
                    self.core.close();
                }

                /// Whether `close` was called.
                ///
                /// ```
                #[doc = concat!("assert!(!sward::sync::", stringify!($Queue), "::<u32>::unbounded().is_closed());")]
                /// ```
                pub fn is_closed(&self) -> bool {
                    self.core.is_closed()
                }

                /// Gets items until the queue is closed and empty. Each step blocks as `get` does.
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::unbounded();")]
                /// queue.put(1).unwrap();
                /// queue.close();
                /// for item in &queue {
                ///     assert_eq!(item, 1);
                /// }
                /// ```
                pub fn iter(&self) -> Iter<'_, Self> {
                    Iter { queue: self }
                }

                /// Says that the work on one item is done, for `join`.
                ///
                /// # Panics
                ///
                /// If it was called more often than items were put.
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::unbounded();")]
                /// queue.put(1).unwrap();
                /// queue.get();
                /// queue.task_done();
                /// queue.join(); // nothing left to do
                /// ```
                #[track_caller]
                pub fn task_done(&self) {
                    self.core.task_done();
                }

                /// Waits until `task_done` was called once for every item put. Blocks the greenlet.
                ///
                /// # Panics
                ///
                /// On the root stack, if that can never happen ("deadlock").
                ///
                /// ```
                #[doc = concat!("let queue = sward::sync::", stringify!($Queue), "::unbounded();")]
                /// queue.put("work").unwrap();
                /// sward::scope(|s| {
                ///     s.spawn(|| { queue.get(); queue.task_done(); });
                ///     queue.join();
                /// });
                /// ```
                pub fn join(&self) {
                    self.core.join();
                }
            }

            impl<T $(: $bound)?> Default for $Queue<T> {
                /// An unbounded queue.
                fn default() -> Self {
                    $Queue::unbounded()
                }
            }

            impl<T $(: $bound)?> fmt::Debug for $Queue<T> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.core.fmt(f)
                }
            }

            impl<T $(: $bound)?> sealed::Watched for $Queue<T> {
                fn ready(&self) -> bool {
                    self.core.ready()
                }

                fn watchers(&self) -> &WaitQueue {
                    self.core.watchers()
                }
            }

            impl<T $(: $bound)?> Iterator for Iter<'_, $Queue<T>> {
                type Item = T;

                fn next(&mut self) -> Option<T> {
                    self.queue.get()
                }
            }

            impl<'a, T $(: $bound)?> IntoIterator for &'a $Queue<T> {
                type Item = T;
                type IntoIter = Iter<'a, $Queue<T>>;

                fn into_iter(self) -> Self::IntoIter {
                    self.iter()
                }
            }

            impl<T $(: $bound)?> UnwindSafe for $Queue<T> {}
            impl<T $(: $bound)?> RefUnwindSafe for $Queue<T> {}
        };
    };
}

pub(super) use queue_methods;
