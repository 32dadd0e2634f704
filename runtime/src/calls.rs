//! How the calls in a backtrace are written.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt::{self, Display, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::spawn::SOURCE as SPAWN;

/// A function that is in a call: its own, or one that the compiler inlined into it; from
/// [`resolve`](crate::inspect::resolve).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Function {
    /// Its name, with its path.
    pub name: String,
    /// The file and the line that it is at, if the program says.
    pub place: Option<(PathBuf, u32)>,
}

/// A call that a greenlet is in; from [`resolve`](crate::inspect::resolve).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Call {
    /// Where it returns to, or, of the innermost of a greenlet that runs, where it is.
    pub address: usize,
    /// Its functions, the innermost first: more than one if the compiler inlined some, none if the program does not say.
    pub functions: Vec<Arc<Function>>,
}

/// The calls that a greenlet is in, as addresses; equal ones can be counted before
/// [`resolve`](crate::inspect::resolve) looks up what they are.
///
/// ```
/// use std::time::Duration;
/// let rows = sward::inspect::hubs(Duration::from_secs(1));
/// for trace in rows.iter().flat_map(|hub| hub.traces(Duration::from_secs(1))) {
///     println!("{} calls", trace.stack.len());
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stack {
    /// Where the calls return to, the innermost first.
    ips: Box<[usize]>,
    /// Whether the greenlet was parked: then the innermost calls are the runtime's.
    is_parked: bool,
}

impl Stack {
    /// That of a parked greenlet.
    pub(crate) fn parked(ips: Vec<usize>) -> Stack {
        Stack { ips: ips.into(), is_parked: true }
    }

    /// That of a greenlet that runs.
    pub(crate) fn running(ips: Vec<usize>) -> Stack {
        Stack { ips: ips.into(), is_parked: false }
    }

    /// How many calls were found; 64 at most.
    ///
    /// See [`Stack`] for an example.
    pub fn len(&self) -> usize {
        self.ips.len()
    }

    /// Whether none were found.
    ///
    /// See [`Stack`] for an example.
    pub fn is_empty(&self) -> bool {
        self.ips.is_empty()
    }

    /// The calls down to the greenlet's own function, not how that is called; nor, of one that is parked, how the runtime
    /// parks it. All calls if that function is not found, as on the root.
    pub(crate) fn own(&self, names: &mut Names) -> Vec<Call> {
        let mut calls = own(names, &self.ips);
        if self.is_parked {
            let parks = |call: &&Call| consists_of(&call.functions, Function::is_runtimes);
            calls.drain(..calls.iter().take_while(parks).count());
            if let Some(Call { functions, .. }) = calls.first_mut() {
                functions.drain(..functions.iter().take_while(|function| function.is_runtimes()).count());
            }
        }
        calls
    }

    /// Writes these calls, `margin` further to the right. `names` are those that were looked up for others.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub(crate) fn write(&self, out: &mut impl Write, names: &mut Names, margin: &str) -> fmt::Result {
        let calls = self.own(names);
        let mut calls = calls.iter().enumerate();
        calls.try_for_each(|(index, call)| write_functions(out, margin, index, call.address, &call.functions))
    }
}

/// The functions that were in the call at `ip`, the innermost first. Empty if the program does not say.
fn functions(ip: usize) -> Vec<Function> {
    let mut functions = Vec::new();
    backtrace::resolve(ip as *mut _, |symbol| {
        let Some(name) = symbol.name() else { return };
        let place = symbol.filename().zip(symbol.lineno());
        functions
            .push(Function { name: format!("{name:#}"), place: place.map(|(file, line)| (file.to_owned(), line)) });
    });
    functions
}

/// Writes a call as std does.
///
/// # Errors
///
/// The writer's.
pub(crate) fn write(out: &mut impl Write, index: usize, ip: usize) -> fmt::Result {
    write_functions(out, "", index, ip, &functions(ip))
}

/// The functions in calls that were looked at already.
#[derive(Default)]
pub(crate) struct Names(HashMap<usize, Vec<Arc<Function>>>);

impl Names {
    /// Those in the call at `ip`.
    fn functions(&mut self, ip: usize) -> Vec<Arc<Function>> {
        self.0.entry(ip).or_insert_with(|| functions(ip).into_iter().map(Arc::new).collect()).clone()
    }
}

/// The calls at `ips` down to a greenlet's own function; all of them if that is not found, as on the root.
fn own(names: &mut Names, ips: &[usize]) -> Vec<Call> {
    let call = |&ip: &usize| Call { address: ip, functions: names.functions(ip) };
    let mut calls: Vec<_> = ips.iter().map(call).collect();
    let starts = |call: &Call| call.functions.iter().any(|function| function.starts_greenlets());
    if let Some(start) = calls.iter().rposition(starts) {
        let functions = &mut calls[start].functions;
        functions.truncate(functions.iter().position(|function| function.starts_greenlets()).unwrap_or(0));
        let is_left = !functions.is_empty();
        calls.truncate(start + usize::from(is_left));
        while calls.last().is_some_and(|call| consists_of(&call.functions, Function::is_between)) {
            calls.pop();
        }
        if let Some(Call { functions, .. }) = calls.last_mut() {
            let own = functions.iter().rposition(|function| !function.is_between());
            functions.truncate(own.map_or(0, |last| last + 1));
        }
    }
    calls
}

/// Whether these functions, of which there are some, are all of one kind.
fn consists_of(functions: &[Arc<Function>], kind: impl Fn(&Function) -> bool) -> bool {
    !functions.is_empty() && functions.iter().all(|function| kind(function))
}

impl Function {
    /// Whether it is where a greenlet's own function is called.
    fn starts_greenlets(&self) -> bool {
        self.name.contains("sward_runtime::spawn::Main") || self.is_in(&[SPAWN])
    }

    /// Whether it is one of std's that stand between that place and the greenlet's own function.
    fn is_between(&self) -> bool {
        const FILES: [&str; 4] =
            ["std/src/panicking.rs", "std/src/panic.rs", "core/src/panic/unwind_safe.rs", "core/src/ops/function.rs"];
        self.name.contains("__rust_try") || self.is_in(&FILES)
    }

    /// Whether it is one of this crate's.
    fn is_runtimes(&self) -> bool {
        let folder = Path::new(file!()).parent();
        self.place
            .as_ref()
            .and_then(|(file, _)| file.parent())
            .zip(folder)
            .is_some_and(|(its, ours)| its.ends_with(ours))
    }

    /// Whether it is in one of these files.
    fn is_in(&self, files: &[&str]) -> bool {
        self.place.as_ref().is_some_and(|(file, _)| files.iter().any(|name| file.ends_with(name)))
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Writes one call: more than one line if the compiler inlined functions into it.
fn write_functions(
    out: &mut impl Write,
    margin: &str,
    index: usize,
    ip: usize,
    functions: &[impl Borrow<Function>],
) -> fmt::Result {
    let mut functions = functions.iter().map(Borrow::borrow);
    let Some(inner) = functions.next() else {
        return writeln!(out, "{margin}{index:4}: {ip:#x}");
    };
    writeln!(out, "{margin}{index:4}: {inner}")?;
    inner.write_place(out, margin)?;
    for function in functions {
        writeln!(out, "{margin}      {function}")?;
        function.write_place(out, margin)?;
    }
    Ok(())
}

impl Function {
    /// Writes where it is.
    fn write_place(&self, out: &mut impl Write, margin: &str) -> fmt::Result {
        match &self.place {
            Some((file, line)) => writeln!(out, "{margin}             at {}:{line}", file.display()),
            None => Ok(()),
        }
    }
}
