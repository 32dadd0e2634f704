//! What all socket types have in common, written once: conversions, options, timeouts.
//!
//! Each type is `struct Type { socket: Socket<StdType> }`; these macros add methods and traits to it.

/// Conversions between `$type` and std's type, descriptors, and std's `Debug`.
macro_rules! descriptor {
    ($type:ident, $std:ty) => {
        impl $type {
            /// Wraps a socket that is in non-blocking mode.
            #[inline]
            pub(crate) fn wrap(io: $std) -> $type {
                $type { socket: Socket::new(io) }
            }

            /// The socket inside.
            #[allow(dead_code)] // some types need none
            pub(crate) fn socket(&self) -> &Socket<$std> {
                &self.socket
            }

            /// The descriptor and what the hub knows of it, for drivers that poll it as a future. The timeouts
            /// of this type do not limit calls made through it.
            ///
            /// ```
            /// use std::io::Write;
            /// let (reader, mut writer) = sward::net::UnixStream::pair()?;
            /// writer.write_all(b"hello")?;
            /// // `recv(2)` as often as it takes, and parked in between.
            /// let n = reader.source().read_with("my own call", None, |io| {
            ///     Ok(rustix::net::recv(io, &mut [0; 8], rustix::net::RecvFlags::PEEK)?.0)
            /// })?;
            /// assert_eq!(n, 5);
            /// # std::io::Result::Ok(())
            /// ```
            #[inline]
            pub fn source(&self) -> &sward_runtime::lowlevel::Source<$std> {
                self.socket.source()
            }
        }

        /// Switches the descriptor to non-blocking mode. Timeouts that were set stay in force.
        ///
        /// # Panics
        ///
        /// If the operating system refuses that.
        impl From<$std> for $type {
            fn from(io: $std) -> $type {
                crate::delegate::set_blocking(&io, false);
                let ours = $type::wrap(io);
                ours.socket.take_over_timeouts();
                ours
            }
        }

        /// Switches the descriptor back to blocking mode, which clones of it share, unless
        /// `set_nonblocking(true)` is in force. Timeouts stay in force.
        impl From<$type> for $std {
            fn from(ours: $type) -> $std {
                let nonblocking = ours.socket.nonblocking();
                ours.socket.hand_over_timeouts();
                let io = ours.socket.into_inner();
                crate::delegate::set_blocking(&io, !nonblocking);
                io
            }
        }

        impl From<OwnedFd> for $type {
            fn from(fd: OwnedFd) -> $type {
                <$std>::from(fd).into()
            }
        }

        /// As the conversion into std's type.
        impl From<$type> for OwnedFd {
            fn from(ours: $type) -> OwnedFd {
                <$std>::from(ours).into()
            }
        }

        impl AsFd for $type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket.get_ref().as_fd()
            }
        }

        impl AsRawFd for $type {
            fn as_raw_fd(&self) -> RawFd {
                self.socket.get_ref().as_raw_fd()
            }
        }

        /// As the conversion into std's type.
        impl IntoRawFd for $type {
            fn into_raw_fd(self) -> RawFd {
                <$std>::from(self).into_raw_fd()
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.socket.get_ref().fmt(f)
            }
        }
    };
}

/// `try_clone`, `take_error` and `set_nonblocking`.
macro_rules! common_methods {
    ($type:ident, $make:literal) => {
        /// A second handle of the same socket; options, timeouts included, are shared.
        ///
        /// # Errors
        ///
        /// As std's.
        ///
        /// ```
        #[doc = $make]
        /// let other = socket.try_clone()?;
        /// # std::io::Result::Ok(())
        /// ```
        pub fn try_clone(&self) -> io::Result<$type> {
            Ok($type { socket: self.socket.clone_as(self.socket.get_ref().try_clone()?) })
        }

        /// Takes the socket's pending error (`SO_ERROR`).
        ///
        /// # Errors
        ///
        /// As std's.
        ///
        /// ```
        #[doc = $make]
        /// assert!(socket.take_error()?.is_none());
        /// # std::io::Result::Ok(())
        /// ```
        pub fn take_error(&self) -> io::Result<Option<io::Error>> {
            self.socket.get_ref().take_error()
        }

        /// Lets calls return `ErrorKind::WouldBlock` instead of blocking the greenlet.
        ///
        /// # Errors
        ///
        /// None; the type is std's.
        ///
        /// ```
        #[doc = $make]
        /// socket.set_nonblocking(true)?;
        /// # std::io::Result::Ok(())
        /// ```
        pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
            self.socket.set_nonblocking(nonblocking);
            Ok(())
        }
    };
}

/// `ttl` and `set_ttl`.
macro_rules! ttl_methods {
    ($make:literal) => {
        /// Sets the time to live of outgoing packets (`IP_TTL`).
        ///
        /// # Errors
        ///
        /// As std's.
        ///
        /// ```
        #[doc = $make]
        /// socket.set_ttl(42)?;
        /// assert_eq!(socket.ttl()?, 42);
        /// # std::io::Result::Ok(())
        /// ```
        pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
            self.socket.get_ref().set_ttl(ttl)
        }

        /// The time to live of outgoing packets.
        ///
        /// # Errors
        ///
        /// As std's.
        ///
        /// ```
        #[doc = $make]
        /// assert!(socket.ttl()? > 0);
        /// # std::io::Result::Ok(())
        /// ```
        pub fn ttl(&self) -> io::Result<u32> {
            self.socket.get_ref().ttl()
        }
    };
}

/// The timeouts of calls that read and of calls that write.
macro_rules! timeout_methods {
    ($make:literal) => {
        /// Limits each later call that reads: it fails with `ErrorKind::TimedOut` when it has waited
        /// for so long. As in std the limit is for each call, not for a whole `read_exact`.
        ///
        /// # Errors
        ///
        /// As std's: `ErrorKind::InvalidInput` for zero.
        ///
        /// ```
        /// use std::time::Duration;
        #[doc = $make]
        /// socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        /// assert_eq!(socket.read_timeout()?, Some(Duration::from_millis(500)));
        /// # std::io::Result::Ok(())
        /// ```
        pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
            self.socket.set_read_timeout(limit)
        }

        /// Limits each later call that writes: it fails with `ErrorKind::TimedOut` when it has waited
        /// for so long. As in std the limit is for each call, not for a whole `write_all`.
        ///
        /// # Errors
        ///
        /// As std's: `ErrorKind::InvalidInput` for zero.
        ///
        /// ```
        /// use std::time::Duration;
        #[doc = $make]
        /// socket.set_write_timeout(Some(Duration::from_millis(500)))?;
        /// assert_eq!(socket.write_timeout()?, Some(Duration::from_millis(500)));
        /// # std::io::Result::Ok(())
        /// ```
        pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
            self.socket.set_write_timeout(limit)
        }

        /// The limit of each call that reads.
        ///
        /// # Errors
        ///
        /// None; the type is std's.
        ///
        /// ```
        #[doc = $make]
        /// assert_eq!(socket.read_timeout()?, None);
        /// # std::io::Result::Ok(())
        /// ```
        pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.socket.read_timeout())
        }

        /// The limit of each call that writes.
        ///
        /// # Errors
        ///
        /// None; the type is std's.
        ///
        /// ```
        #[doc = $make]
        /// assert_eq!(socket.write_timeout()?, None);
        /// # std::io::Result::Ok(())
        /// ```
        pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.socket.write_timeout())
        }
    };
}

/// `Read` and `Write` for a stream, by value and by reference.
macro_rules! stream_traits {
    ($type:ident, $read:ident, $names:expr) => {
        impl Read for &$type {
            #[inline]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.socket.$read($names[0], buf.len(), |mut io| io.read(buf))
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                if let [only] = bufs {
                    return self.read(only);
                }
                let len = bufs.iter().map(|buf| buf.len()).sum();
                self.socket.$read($names[1], len, |mut io| io.read_vectored(bufs))
            }
        }

        impl Write for &$type {
            #[inline]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.socket.write_stream($names[2], buf.len(), |mut io| io.write(buf))
            }

            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                if let [only] = bufs {
                    return self.write(only);
                }
                let len = bufs.iter().map(|buf| buf.len()).sum();
                self.socket.write_stream($names[3], len, |mut io| io.write_vectored(bufs))
            }

            #[inline]
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl Read for $type {
            #[inline]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buf)
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self).read_vectored(bufs)
            }
        }

        impl Write for $type {
            #[inline]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                (&*self).write(buf)
            }

            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                (&*self).write_vectored(bufs)
            }

            #[inline]
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    };
}

/// Switches a descriptor between blocking and non-blocking mode.
pub(crate) fn set_blocking(fd: &impl std::os::fd::AsFd, blocking: bool) {
    rustix::io::ioctl_fionbio(fd, !blocking).expect("every open descriptor can switch its blocking mode");
}
