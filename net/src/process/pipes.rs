//! This process's ends of a child's pipes.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process::Stdio;

use crate::io::Socket;

/// The type of a pipe's end that wraps std's: conversions, and use as another child's stdio.
macro_rules! pipe {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        pub struct $type {
            /// The pipe.
            socket: Socket<std::process::$type>,
        }

        descriptor!($type, std::process::$type);

        /// Switches the pipe back to blocking mode.
        impl From<$type> for Stdio {
            fn from(ours: $type) -> Stdio {
                std::process::$type::from(ours).into()
            }
        }
    };
}

pipe! {
    /// The writing end of a child's standard input, as [`std::process::ChildStdin`]; dropping it closes
    /// it. A write blocks the greenlet.
    ///
    /// ```
    /// use std::io::Write;
    /// use sward::process::{ChildStdin, Command, Stdio};
    ///
    /// let mut child = Command::new("grep").args(["-q", "needle"]).stdin(Stdio::piped()).spawn()?;
    /// let mut input: ChildStdin = child.stdin.take().unwrap();
    /// input.write_all(b"hay\nneedle\nhay\n")?;
    /// drop(input); // the end of its input
    /// assert!(child.wait()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    ChildStdin
}
pipe! {
    /// The reading end of a child's standard output, as [`std::process::ChildStdout`]. A read blocks the
    /// greenlet.
    ///
    /// ```
    /// use sward::process::{ChildStdout, Command, Stdio};
    ///
    /// let mut child = Command::new("sh").args(["-c", "echo hello"]).stdout(Stdio::piped()).spawn()?;
    /// let output: ChildStdout = child.stdout.take().unwrap();
    /// assert_eq!(std::io::read_to_string(output)?, "hello\n");
    /// assert!(child.wait()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    ChildStdout
}
pipe! {
    /// The reading end of a child's standard error, as [`std::process::ChildStderr`]. A read blocks the
    /// greenlet.
    ///
    /// ```
    /// use sward::process::{ChildStderr, Command, Stdio};
    ///
    /// let mut child = Command::new("sh").args(["-c", "echo hello >&2"]).stderr(Stdio::piped()).spawn()?;
    /// let error: ChildStderr = child.stderr.take().unwrap();
    /// assert_eq!(std::io::read_to_string(error)?, "hello\n");
    /// assert!(child.wait()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    ChildStderr
}

impl Write for &ChildStdin {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.write_stream("ChildStdin::write", buf.len(), |mut io| io.write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        self.socket.write_stream("ChildStdin::write_vectored", len, |mut io| io.write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for ChildStdin {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `Read` for an end that is read from. No hint from short reads: a pipe in packet mode has them.
macro_rules! read {
    ($type:ident, $read:literal, $read_vectored:literal) => {
        impl Read for $type {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.socket.read_pieces($read, buf.len(), |io| Ok(rustix::io::read(io, &mut *buf)?))
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                let len = bufs.iter().map(|buf| buf.len()).sum();
                self.socket.read_pieces($read_vectored, len, |io| Ok(rustix::io::readv(io, bufs)?))
            }
        }
    };
}

read!(ChildStdout, "ChildStdout::read", "ChildStdout::read_vectored");
read!(ChildStderr, "ChildStderr::read", "ChildStderr::read_vectored");
