//! One value per greenlet: `greenlet_local!`; one per hub: `HubLocal`.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::hub::hub;
use crate::join::JoinError;
use crate::spawn::discard;

/// Declares statics that have one value per greenlet, as `thread_local!` does per thread. The value
/// is made when the greenlet first uses it and dropped when the greenlet ends.
///
/// # Differences from `thread_local!`
///
/// The root has values of its own. A destructor may block. There is no `const { … }` form.
///
/// ```
/// use std::cell::Cell;
///
/// sward::greenlet_local! {
///     /// Requests handled by this greenlet.
///     pub static HANDLED: Cell<u32> = Cell::new(0);
/// }
///
/// HANDLED.with(|n| n.set(5));
/// let other = sward::spawn(|| HANDLED.with(Cell::get)).join().unwrap();
/// assert_eq!((HANDLED.with(Cell::get), other), (5, 0));
/// ```
#[macro_export]
macro_rules! greenlet_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident : $t:ty = $init:expr; $($rest:tt)*) => {
        $crate::greenlet_local!($(#[$attr])* $vis static $name: $t = $init);
        $crate::greenlet_local!($($rest)*);
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident : $t:ty = $init:expr) => {
        $(#[$attr])*
        $vis static $name: $crate::GreenletLocal<$t> = {
            fn init() -> $t {
                $init
            }
            $crate::GreenletLocal::new(init)
        };
    };
}

/// A static with one value per greenlet; made by [`greenlet_local!`].
pub struct GreenletLocal<T: 'static> {
    /// Makes a greenlet's value.
    init: fn() -> T,
}

impl<T: 'static> GreenletLocal<T> {
    /// Used by the macro.
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> GreenletLocal<T> {
        GreenletLocal { init }
    }

    /// Calls `f` with this greenlet's value, which is made first if it is not there.
    ///
    /// # Panics
    ///
    /// Passes on a panic of the initialiser or of `f`. In a destructor of another such value, if this
    /// one has been destroyed already.
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        // A static's address tells it from every other: it is not zero-sized.
        hub().current().locals.with(std::ptr::from_ref(self).addr(), self.init, f)
    }
}

impl<T: 'static> fmt::Debug for GreenletLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GreenletLocal").finish_non_exhaustive()
    }
}

/// A static with one value per hub, for what all greenlets of a thread share.
///
/// Not the same as `thread_local!`: after `sward::patch::all` each greenlet has thread-locals of its own. The value is
/// made when the hub's thread first uses it and dropped when the hub ends.
///
/// ```
/// use std::cell::Cell;
/// use sward::lowlevel::HubLocal;
///
/// static OPEN: HubLocal<Cell<u32>> = HubLocal::new(|| Cell::new(0));
///
/// OPEN.with(|open| open.set(1));
/// assert_eq!(sward::spawn(|| OPEN.with(Cell::get)).join().unwrap(), 1);
/// ```
pub struct HubLocal<T: 'static> {
    /// Makes a hub's value.
    init: fn() -> T,
}

impl<T: 'static> HubLocal<T> {
    /// A value that `init` makes.
    pub const fn new(init: fn() -> T) -> HubLocal<T> {
        HubLocal { init }
    }

    /// Calls `f` with this hub's value, which is made first if it is not there.
    ///
    /// # Panics
    ///
    /// Passes on a panic of the initialiser or of `f`. In a destructor that runs because the hub ends, if this value
    /// has been destroyed already.
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        hub().root().locals.with(std::ptr::from_ref(self).addr(), self.init, f)
    }
}

impl<T: 'static> fmt::Debug for HubLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubLocal").finish_non_exhaustive()
    }
}

/// A value, by the address of its static; `None` once it has been dropped, at the greenlet's end.
type Entry = (usize, Option<Rc<dyn Any>>);

/// The values of one greenlet.
pub(crate) struct Locals {
    /// In the order in which they were made. Boxed: most greenlets have none.
    #[expect(clippy::box_collection, reason = "one word in the slot of a greenlet without locals")]
    entries: RefCell<Option<Box<Vec<Entry>>>>,
}

impl Locals {
    /// None.
    pub(crate) const fn new() -> Locals {
        Locals { entries: RefCell::new(None) }
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.borrow().is_none()
    }

    /// Calls `f` with the value under `key`, made by `init` if it is not there.
    fn with<T: 'static, R>(&self, key: usize, init: fn() -> T, f: impl FnOnce(&T) -> R) -> R {
        let value = self.get(key).unwrap_or_else(|| {
            // Made without a borrow: the initialiser may use other locals, or block.
            let made: Rc<dyn Any> = Rc::new(init());
            self.insert(key, made)
        });
        f(value.downcast_ref().expect("the value under a static's address is of its type"))
    }

    /// The value under `key`.
    fn get(&self, key: usize) -> Option<Rc<dyn Any>> {
        let entries = self.entries.borrow();
        let (_, value) = entries.as_ref()?.iter().find(|(at, _)| *at == key)?;
        // To make it anew would never end: a destructor may use the value that it destroys.
        assert!(value.is_some(), "a greenlet_local was used when the end of its greenlet had destroyed it");
        value.clone()
    }

    /// Stores a value, unless the initialiser has used the static itself and so made one already.
    fn insert(&self, key: usize, value: Rc<dyn Any>) -> Rc<dyn Any> {
        if let Some(earlier) = self.get(key) {
            return earlier;
        }
        // One at first, not room for four: most greenlets have no more.
        let first = || Box::new(Vec::with_capacity(1));
        self.entries.borrow_mut().get_or_insert_with(first).push((key, Some(value.clone())));
        value
    }

    /// Drops all values, the newest first; also those that their destructors make. A destructor that
    /// unwinds keeps none of the others; the first panic is returned.
    pub(crate) fn clear(&self) -> Result<(), JoinError> {
        let mut outcome = Ok(());
        while let Some(value) = self.take_newest() {
            let dropped = discard(value);
            if outcome.is_ok() && dropped.as_ref().is_err_and(JoinError::is_panic) {
                outcome = dropped;
            }
        }
        self.entries.take();
        outcome
    }

    /// Takes out the newest value and remembers that it was there.
    fn take_newest(&self) -> Option<Rc<dyn Any>> {
        self.entries.borrow_mut().as_mut()?.iter_mut().rev().find_map(|(_, value)| value.take())
    }
}
