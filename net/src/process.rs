//! Child processes, as [`std::process`]: pipes and waits block the greenlet and not the hub.
//!
//! A child is waited for through a pidfd; no handler for SIGCHLD is installed.
//!
//! ```
//! use sward::process::Command;
//!
//! let output = Command::new("echo").arg("hello").output()?;
//! assert_eq!(output.stdout, b"hello\n");
//! # std::io::Result::Ok(())
//! ```

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;

#[doc(no_inline)]
pub use std::process::{CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output, Stdio, Termination, abort, exit, id};

pub use child::Child;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};

mod child;
mod pipes;
mod reap;

/// Builds a child process, as [`std::process::Command`].
///
/// # Differences from `std::process::Command`
///
/// - The child's pipes and waits block the greenlet, not the thread; a `kill` or `timeout` ends
///   them, and leaves the child running. [`Child::wait_timeout`] is the way to give one a limit.
/// - `pre_exec` is missing, since it is unsafe: configure std's `Command` and convert it
///   (`From<std::process::Command>`). `get_resolved_envs`, `groups` and `create_pidfd` are unstable in std.
///
/// ```
/// use std::io::{Read, Write};
/// use sward::process::{Command, Stdio};
///
/// let mut child = Command::new("tr").args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// child.stdin.take().unwrap().write_all(b"hello")?;
/// let mut text = String::new();
/// child.stdout.take().unwrap().read_to_string(&mut text)?;
/// assert_eq!(text, "HELLO");
/// assert!(child.wait()?.success());
/// # std::io::Result::Ok(())
/// ```
pub struct Command {
    /// std's.
    inner: std::process::Command,
    /// Whether the user has set stdin, stdout and stderr: `output` has other defaults than `spawn`.
    is_set: [bool; 3],
}

/// Methods that pass their arguments on to std's `Command` and return `self`.
macro_rules! builder {
    ($($(#[$doc:meta])* $name:ident $(<$($generic:ident: $bound:path),*>)? ($($arg:ident: $type:ty),*), $example:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// ```
        /// use sward::process::Command;
        #[doc = $example]
        /// # std::io::Result::Ok(())
        /// ```
        pub fn $name $(<$($generic: $bound),*>)? (&mut self $(, $arg: $type)*) -> &mut Command {
            self.inner.$name($($arg),*);
            self
        }
    )*};
}

impl Command {
    /// Will run `program`, with this process's environment and working directory.
    ///
    /// ```
    /// assert!(sward::process::Command::new("true").status()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn new<S: AsRef<OsStr>>(program: S) -> Command {
        std::process::Command::new(program).into()
    }

    builder! {
        /// Adds an argument.
        arg<S: AsRef<OsStr>>(arg: S), "assert_eq!(Command::new(\"echo\").arg(\"a b\").output()?.stdout, b\"a b\\n\");";
        /// Removes all variables of the environment.
        env_clear(), "assert_eq!(Command::new(\"/usr/bin/env\").env_clear().output()?.stdout, b\"\");";
        /// Removes a variable from the environment.
        env_remove<K: AsRef<OsStr>>(key: K), "let output = Command::new(\"sh\").args([\"-c\", \"echo $HOME\"]).env_remove(\"HOME\").output()?;
    assert_eq!(output.stdout, b\"\\n\");";
        /// Sets a variable of the environment.
        env<K: AsRef<OsStr>, V: AsRef<OsStr>>(key: K, value: V), "let output = Command::new(\"sh\").args([\"-c\", \"echo $A\"]).env(\"A\", \"b\").output()?;
    assert_eq!(output.stdout, b\"b\\n\");";
        /// Sets the working directory.
        current_dir<P: AsRef<Path>>(dir: P), "assert_eq!(Command::new(\"pwd\").current_dir(\"/\").output()?.stdout, b\"/\\n\");";
        /// Sets the user id (`CommandExt::uid`).
        uid(id: u32), "# let mine = rustix::process::getuid().as_raw();
let output = Command::new(\"id\").arg(\"-u\").uid(mine).output()?;
assert_eq!(output.stdout, format!(\"{mine}\\n\").into_bytes());";
        /// Sets the group id (`CommandExt::gid`).
        gid(id: u32), "# let mine = rustix::process::getgid().as_raw();
let output = Command::new(\"id\").arg(\"-g\").gid(mine).output()?;
assert_eq!(output.stdout, format!(\"{mine}\\n\").into_bytes());";
        /// Sets what the program sees as its own name (`CommandExt::arg0`).
        arg0<S: AsRef<OsStr>>(arg: S), "let output = Command::new(\"sh\").arg0(\"shell\").args([\"-c\", \"echo $0\"]).output()?;
    assert_eq!(output.stdout, b\"shell\\n\");";
        /// Sets the process group, 0 for a new one (`CommandExt::process_group`).
        process_group(group: i32), "let mut child = Command::new(\"sleep\").arg(\"1000\").process_group(0).spawn()?;
let group = format!(\"-{}\", child.id());
Command::new(\"kill\").args([\"-KILL\", \"--\", &group]).status()?; // and whatever it has started
assert!(!child.wait()?.success());";
    }

    /// Adds arguments.
    ///
    /// ```
    /// let output = sward::process::Command::new("echo").args(["a", "b"]).output()?;
    /// assert_eq!(output.stdout, b"a b\n");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&mut self, args: I) -> &mut Command {
        self.inner.args(args);
        self
    }

    /// Sets variables of the environment.
    ///
    /// ```
    /// let output = sward::process::Command::new("sh").args(["-c", "echo $A"]).envs([("A", "b")]).output()?;
    /// assert_eq!(output.stdout, b"b\n");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Command
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.envs(vars);
        self
    }

    /// Sets the child's standard input.
    ///
    /// ```
    /// use sward::process::{Command, Stdio};
    /// assert!(Command::new("cat").stdin(Stdio::null()).status()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stdin<T: Into<Stdio>>(&mut self, stdin: T) -> &mut Command {
        self.is_set[0] = true;
        self.inner.stdin(stdin);
        self
    }

    /// Sets the child's standard output.
    ///
    /// ```
    /// use sward::process::{Command, Stdio};
    /// assert!(Command::new("echo").stdout(Stdio::null()).status()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stdout<T: Into<Stdio>>(&mut self, stdout: T) -> &mut Command {
        self.is_set[1] = true;
        self.inner.stdout(stdout);
        self
    }

    /// Sets the child's standard error.
    ///
    /// ```
    /// use sward::process::{Command, Stdio};
    /// assert!(!Command::new("cat").arg("/no/such/file").stderr(Stdio::null()).status()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stderr<T: Into<Stdio>>(&mut self, stderr: T) -> &mut Command {
        self.is_set[2] = true;
        self.inner.stderr(stderr);
        self
    }

    /// Starts the child. What is not set otherwise it inherits.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let mut child = sward::process::Command::new("true").spawn()?;
    /// assert!(child.wait()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.inner.spawn().map(Child::from)
    }

    /// Runs the child to its end and collects what it writes. Blocks the greenlet.
    ///
    /// As in std, standard output and error are captured and standard input is empty, unless set.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let output = sward::process::Command::new("sh").args(["-c", "echo no >&2; exit 3"]).output()?;
    /// assert_eq!((output.status.code(), &*output.stderr), (Some(3), &b"no\n"[..]));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn output(&mut self) -> io::Result<Output> {
        let [stdin, stdout, stderr] = self.is_set;
        if !stdin {
            self.inner.stdin(Stdio::null());
        }
        if !stdout {
            self.inner.stdout(Stdio::piped());
        }
        if !stderr {
            self.inner.stderr(Stdio::piped());
        }
        let child = self.spawn();
        // What `spawn` and `status` do if nothing is set.
        if !stdin {
            self.inner.stdin(Stdio::inherit());
        }
        if !stdout {
            self.inner.stdout(Stdio::inherit());
        }
        if !stderr {
            self.inner.stderr(Stdio::inherit());
        }
        child?.wait_with_output()
    }

    /// Runs the child to its end. What is not set otherwise it inherits. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let status = sward::process::Command::new("sh").args(["-c", "exit 3"]).status()?;
    /// assert_eq!(status.code(), Some(3));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Replaces this process by the program (`CommandExt::exec`); returns only if that fails.
    ///
    /// ```
    /// let error = sward::process::Command::new("/no/such/program").exec();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn exec(&mut self) -> io::Error {
        self.inner.exec()
    }

    /// The program.
    ///
    /// ```
    /// assert_eq!(sward::process::Command::new("true").get_program(), "true");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn get_program(&self) -> &OsStr {
        self.inner.get_program()
    }

    /// The arguments.
    ///
    /// ```
    /// assert_eq!(sward::process::Command::new("echo").arg("a").get_args().count(), 1);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.inner.get_args()
    }

    /// The variables that were set or removed.
    ///
    /// ```
    /// assert_eq!(sward::process::Command::new("env").env("A", "b").get_envs().count(), 1);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.inner.get_envs()
    }

    /// The working directory, if set.
    ///
    /// ```
    /// assert_eq!(sward::process::Command::new("true").get_current_dir(), None);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.inner.get_current_dir()
    }
}

/// For `output`, standard input, output and error count as not set.
impl From<std::process::Command> for Command {
    fn from(inner: std::process::Command) -> Command {
        Command { inner, is_set: [false; 3] }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
