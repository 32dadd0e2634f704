//! How the calls in a backtrace are written.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt::{self, Display, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::spawn::SOURCE as SPAWN;

/// A function that is in a call: its own, or one that the compiler inlined into it.
pub(crate) struct Function {
    /// Its name, with its path.
    name: String,
    /// The line that it is at, if the program says.
    place: Option<(PathBuf, u32)>,
}

/// The functions that were in the call at `ip`, the innermost first. Empty if the program does not say.
pub(crate) fn functions(ip: usize) -> Vec<Function> {
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

/// Writes the calls of a greenlet that runs, `ips`: down to its own function, not how that is called.
///
/// # Errors
///
/// The writer's.
pub(crate) fn write_running(out: &mut impl Write, ips: &[usize]) -> fmt::Result {
    write_all(out, "", &own(&mut Names::default(), ips))
}

/// As [`write_running`] for one that is parked, `margin` further to the right: nor how the runtime parks it. `names` are
/// those that were looked up for others.
///
/// # Errors
///
/// The writer's.
pub(crate) fn write_parked(out: &mut impl Write, names: &mut Names, margin: &str, ips: &[usize]) -> fmt::Result {
    let mut calls = own(names, ips);
    let parks = |(_, functions): &&Call| consists_of(functions, Function::is_runtimes);
    calls.drain(..calls.iter().take_while(parks).count());
    if let Some((_, functions)) = calls.first_mut() {
        functions.drain(..functions.iter().take_while(|function| function.is_runtimes()).count());
    }
    write_all(out, margin, &calls)
}

/// The functions in calls that were looked at already.
#[derive(Default)]
pub(crate) struct Names(HashMap<usize, Vec<Rc<Function>>>);

impl Names {
    /// Those in the call at `ip`.
    fn functions(&mut self, ip: usize) -> Vec<Rc<Function>> {
        self.0.entry(ip).or_insert_with(|| functions(ip).into_iter().map(Rc::new).collect()).clone()
    }
}

/// A call: where it returns to, and its functions.
type Call = (usize, Vec<Rc<Function>>);

/// The calls at `ips` down to a greenlet's own function; all of them if that is not found, as on the root.
fn own(names: &mut Names, ips: &[usize]) -> Vec<Call> {
    let mut calls: Vec<_> = ips.iter().map(|&ip| (ip, names.functions(ip))).collect();
    let starts = |(_, functions): &Call| functions.iter().any(|function| function.starts_greenlets());
    if let Some(start) = calls.iter().rposition(starts) {
        let functions = &mut calls[start].1;
        functions.truncate(functions.iter().position(|function| function.starts_greenlets()).unwrap_or(0));
        let is_left = !functions.is_empty();
        calls.truncate(start + usize::from(is_left));
        while calls.last().is_some_and(|(_, functions)| consists_of(functions, Function::is_between)) {
            calls.pop();
        }
        if let Some((_, functions)) = calls.last_mut() {
            let own = functions.iter().rposition(|function| !function.is_between());
            functions.truncate(own.map_or(0, |last| last + 1));
        }
    }
    calls
}

/// Whether these functions, of which there are some, are all of one kind.
fn consists_of(functions: &[Rc<Function>], kind: impl Fn(&Function) -> bool) -> bool {
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

/// Writes calls, numbered.
fn write_all(out: &mut impl Write, margin: &str, calls: &[Call]) -> fmt::Result {
    let mut calls = calls.iter().enumerate();
    calls.try_for_each(|(index, (ip, functions))| write_functions(out, margin, index, *ip, functions))
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
