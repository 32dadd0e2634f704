//! Code that compiles with std's types and with ours, and names what it has used.

#![allow(unused_imports)] // each of the two modules needs a little less than the other
#![allow(clippy::type_complexity)] // signatures as they are

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::io::{BufRead, Error, Read, Result, Seek, Write};
use std::iter::FusedIterator;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, FileExt, OpenOptionsExt};
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::Page;

/// What a generic function is asked with, that takes text.
type Text = &'static str;
/// What one is asked with that takes a path.
type Place = &'static Path;

/// Any type with addresses.
type T = String;

/// Names methods or functions, and has the compiler look whether they are there with these types.
macro_rules! members {
    ($page:literal, $of:ident { $($name:ident: $type:ty,)* }) => {{
        $({ let _: $type = $of::$name; })*
        let names: &[&str] = &[$(stringify!($name)),*];
        ($page, names.iter().map(ToString::to_string).collect())
    }};
}

/// Names the items of a module.
macro_rules! items {
    ($page:literal, $of:ident { $($name:ident,)* }) => {{
        $({ use $of::$name; })*
        ($page, [$(stringify!($name)),*].map(String::from).to_vec())
    }};
}

/// Names traits, and has the compiler look whether the types have them.
macro_rules! traits {
    ($page:literal { $($type:ty => $($bound:path),*;)* }) => {{
        let mut names = Vec::new();
        $($({
            fn has<T: $bound + ?Sized>() {}
            has::<$type>();
            names.push(concat!(stringify!($bound), "-for-", stringify!($type)).to_owned());
        })*)*
        ($page, names)
    }};
}

/// Compiles the same code twice.
macro_rules! in_both {
    ($($code:tt)*) => {
        /// std.
        pub(crate) mod theirs {
            use super::*;
            use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions, ReadDir};
            use std::io::{self, Stdin, StdinLock};
            use std::net::{self, Incoming, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
            use std::os::unix::fs as unix_fs;
            use std::os::unix::net::{Incoming as UnixIncoming, UnixDatagram, UnixListener, UnixStream};
            use std::os::unix::process::CommandExt;
            use std::process::{self, Child, ChildStderr, ChildStdin, ChildStdout, Command};
            type Lock = StdinLock<'static>;
            type Lines = io::Lines<Lock>;
            $($code)*
        }

        /// sward.
        pub(crate) mod ours {
            use super::*;
            use sward::fs::{self as unix_fs, DirBuilder, DirEntry, File, OpenOptions, ReadDir};
            use sward::fs;
            use sward::io::{self, Lines, Stdin, StdinLock};
            use sward::net::{self, Incoming, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
            use sward::net::{UnixDatagram, UnixIncoming, UnixListener, UnixStream};
            use sward::process::{self, Child, ChildStderr, ChildStdin, ChildStdout, Command};
            type Lock = StdinLock;
            $($code)*
        }
    };
}

in_both! {
    /// Methods, functions and types.
    pub(crate) fn members() -> Vec<Page> {
        [sockets(), unix_sockets(), processes(), files()].concat()
    }

    fn sockets() -> Vec<Page> {
        let types = items!("net/", net {
            AddrParseError, Incoming, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
            TcpListener, TcpStream, ToSocketAddrs, UdpSocket,
        });
        let stream = members!("net/struct.TcpStream", TcpStream {
            connect: fn(SocketAddr) -> Result<TcpStream>,
            connect_timeout: fn(&SocketAddr, Duration) -> Result<TcpStream>,
            peer_addr: fn(&TcpStream) -> Result<SocketAddr>,
            local_addr: fn(&TcpStream) -> Result<SocketAddr>,
            shutdown: fn(&TcpStream, Shutdown) -> Result<()>,
            try_clone: fn(&TcpStream) -> Result<TcpStream>,
            set_read_timeout: fn(&TcpStream, Option<Duration>) -> Result<()>,
            set_write_timeout: fn(&TcpStream, Option<Duration>) -> Result<()>,
            read_timeout: fn(&TcpStream) -> Result<Option<Duration>>,
            write_timeout: fn(&TcpStream) -> Result<Option<Duration>>,
            peek: fn(&TcpStream, &mut [u8]) -> Result<usize>,
            set_nodelay: fn(&TcpStream, bool) -> Result<()>,
            nodelay: fn(&TcpStream) -> Result<bool>,
            set_ttl: fn(&TcpStream, u32) -> Result<()>,
            ttl: fn(&TcpStream) -> Result<u32>,
            take_error: fn(&TcpStream) -> Result<Option<Error>>,
            set_nonblocking: fn(&TcpStream, bool) -> Result<()>,
        });
        let listener = members!("net/struct.TcpListener", TcpListener {
            bind: fn(SocketAddr) -> Result<TcpListener>,
            local_addr: fn(&TcpListener) -> Result<SocketAddr>,
            try_clone: fn(&TcpListener) -> Result<TcpListener>,
            accept: fn(&TcpListener) -> Result<(TcpStream, SocketAddr)>,
            incoming: fn(&TcpListener) -> Incoming<'_>,
            set_ttl: fn(&TcpListener, u32) -> Result<()>,
            ttl: fn(&TcpListener) -> Result<u32>,
            take_error: fn(&TcpListener) -> Result<Option<Error>>,
            set_nonblocking: fn(&TcpListener, bool) -> Result<()>,
        });
        let udp = members!("net/struct.UdpSocket", UdpSocket {
            bind: fn(SocketAddr) -> Result<UdpSocket>,
            recv_from: fn(&UdpSocket, &mut [u8]) -> Result<(usize, SocketAddr)>,
            peek_from: fn(&UdpSocket, &mut [u8]) -> Result<(usize, SocketAddr)>,
            send_to: fn(&UdpSocket, &[u8], SocketAddr) -> Result<usize>,
            peer_addr: fn(&UdpSocket) -> Result<SocketAddr>,
            local_addr: fn(&UdpSocket) -> Result<SocketAddr>,
            try_clone: fn(&UdpSocket) -> Result<UdpSocket>,
            set_read_timeout: fn(&UdpSocket, Option<Duration>) -> Result<()>,
            set_write_timeout: fn(&UdpSocket, Option<Duration>) -> Result<()>,
            read_timeout: fn(&UdpSocket) -> Result<Option<Duration>>,
            write_timeout: fn(&UdpSocket) -> Result<Option<Duration>>,
            set_broadcast: fn(&UdpSocket, bool) -> Result<()>,
            broadcast: fn(&UdpSocket) -> Result<bool>,
            set_multicast_loop_v4: fn(&UdpSocket, bool) -> Result<()>,
            multicast_loop_v4: fn(&UdpSocket) -> Result<bool>,
            set_multicast_ttl_v4: fn(&UdpSocket, u32) -> Result<()>,
            multicast_ttl_v4: fn(&UdpSocket) -> Result<u32>,
            set_multicast_loop_v6: fn(&UdpSocket, bool) -> Result<()>,
            multicast_loop_v6: fn(&UdpSocket) -> Result<bool>,
            set_ttl: fn(&UdpSocket, u32) -> Result<()>,
            ttl: fn(&UdpSocket) -> Result<u32>,
            join_multicast_v4: fn(&UdpSocket, &Ipv4Addr, &Ipv4Addr) -> Result<()>,
            join_multicast_v6: fn(&UdpSocket, &Ipv6Addr, u32) -> Result<()>,
            leave_multicast_v4: fn(&UdpSocket, &Ipv4Addr, &Ipv4Addr) -> Result<()>,
            leave_multicast_v6: fn(&UdpSocket, &Ipv6Addr, u32) -> Result<()>,
            take_error: fn(&UdpSocket) -> Result<Option<Error>>,
            connect: fn(&UdpSocket, SocketAddr) -> Result<()>,
            send: fn(&UdpSocket, &[u8]) -> Result<usize>,
            recv: fn(&UdpSocket, &mut [u8]) -> Result<usize>,
            peek: fn(&UdpSocket, &mut [u8]) -> Result<usize>,
            set_nonblocking: fn(&UdpSocket, bool) -> Result<()>,
        });
        vec![types, stream, listener, udp]
    }

    fn unix_sockets() -> Vec<Page> {
        let stream = members!("os/unix/net/struct.UnixStream", UnixStream {
            connect: fn(Place) -> Result<UnixStream>,
            connect_addr: fn(&UnixAddr) -> Result<UnixStream>,
            pair: fn() -> Result<(UnixStream, UnixStream)>,
            try_clone: fn(&UnixStream) -> Result<UnixStream>,
            local_addr: fn(&UnixStream) -> Result<UnixAddr>,
            peer_addr: fn(&UnixStream) -> Result<UnixAddr>,
            set_read_timeout: fn(&UnixStream, Option<Duration>) -> Result<()>,
            set_write_timeout: fn(&UnixStream, Option<Duration>) -> Result<()>,
            read_timeout: fn(&UnixStream) -> Result<Option<Duration>>,
            write_timeout: fn(&UnixStream) -> Result<Option<Duration>>,
            set_nonblocking: fn(&UnixStream, bool) -> Result<()>,
            take_error: fn(&UnixStream) -> Result<Option<Error>>,
            shutdown: fn(&UnixStream, Shutdown) -> Result<()>,
        });
        let listener = members!("os/unix/net/struct.UnixListener", UnixListener {
            bind: fn(Place) -> Result<UnixListener>,
            bind_addr: fn(&UnixAddr) -> Result<UnixListener>,
            accept: fn(&UnixListener) -> Result<(UnixStream, UnixAddr)>,
            try_clone: fn(&UnixListener) -> Result<UnixListener>,
            local_addr: fn(&UnixListener) -> Result<UnixAddr>,
            set_nonblocking: fn(&UnixListener, bool) -> Result<()>,
            take_error: fn(&UnixListener) -> Result<Option<Error>>,
            incoming: fn(&UnixListener) -> UnixIncoming<'_>,
        });
        let datagram = members!("os/unix/net/struct.UnixDatagram", UnixDatagram {
            bind: fn(Place) -> Result<UnixDatagram>,
            bind_addr: fn(&UnixAddr) -> Result<UnixDatagram>,
            unbound: fn() -> Result<UnixDatagram>,
            pair: fn() -> Result<(UnixDatagram, UnixDatagram)>,
            connect: fn(&UnixDatagram, Place) -> Result<()>,
            connect_addr: fn(&UnixDatagram, &UnixAddr) -> Result<()>,
            try_clone: fn(&UnixDatagram) -> Result<UnixDatagram>,
            local_addr: fn(&UnixDatagram) -> Result<UnixAddr>,
            peer_addr: fn(&UnixDatagram) -> Result<UnixAddr>,
            recv_from: fn(&UnixDatagram, &mut [u8]) -> Result<(usize, UnixAddr)>,
            recv: fn(&UnixDatagram, &mut [u8]) -> Result<usize>,
            send_to: fn(&UnixDatagram, &[u8], Place) -> Result<usize>,
            send_to_addr: fn(&UnixDatagram, &[u8], &UnixAddr) -> Result<usize>,
            send: fn(&UnixDatagram, &[u8]) -> Result<usize>,
            set_read_timeout: fn(&UnixDatagram, Option<Duration>) -> Result<()>,
            set_write_timeout: fn(&UnixDatagram, Option<Duration>) -> Result<()>,
            read_timeout: fn(&UnixDatagram) -> Result<Option<Duration>>,
            write_timeout: fn(&UnixDatagram) -> Result<Option<Duration>>,
            set_nonblocking: fn(&UnixDatagram, bool) -> Result<()>,
            take_error: fn(&UnixDatagram) -> Result<Option<Error>>,
            shutdown: fn(&UnixDatagram, Shutdown) -> Result<()>,
        });
        vec![stream, listener, datagram]
    }

    fn processes() -> Vec<Page> {
        let types = items!("process/", process {
            Child, ChildStderr, ChildStdin, ChildStdout, Command, CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output,
            Stdio, Termination, abort, exit, id,
        });
        let command = members!("process/struct.Command", Command {
            new: fn(Text) -> Command,
            arg: fn(&mut Command, Text) -> &mut Command,
            args: fn(&mut Command, [Text; 2]) -> &mut Command,
            env: fn(&mut Command, Text, Text) -> &mut Command,
            envs: fn(&mut Command, [(Text, Text); 2]) -> &mut Command,
            env_remove: fn(&mut Command, Text) -> &mut Command,
            env_clear: fn(&mut Command) -> &mut Command,
            current_dir: fn(&mut Command, Place) -> &mut Command,
            stdin: fn(&mut Command, process::Stdio) -> &mut Command,
            stdout: fn(&mut Command, process::Stdio) -> &mut Command,
            stderr: fn(&mut Command, process::Stdio) -> &mut Command,
            spawn: fn(&mut Command) -> Result<Child>,
            output: fn(&mut Command) -> Result<process::Output>,
            status: fn(&mut Command) -> Result<process::ExitStatus>,
            get_program: fn(&Command) -> &OsStr,
            get_args: fn(&Command) -> process::CommandArgs<'_>,
            get_envs: fn(&Command) -> process::CommandEnvs<'_>,
            get_current_dir: fn(&Command) -> Option<&Path>,
        });
        let unix_command = members!("os/unix/process/trait.CommandExt", Command {
            uid: fn(&mut Command, u32) -> &mut Command,
            gid: fn(&mut Command, u32) -> &mut Command,
            exec: fn(&mut Command) -> Error,
            arg0: fn(&mut Command, Text) -> &mut Command,
            process_group: fn(&mut Command, i32) -> &mut Command,
        });
        let child = members!("process/struct.Child", Child {
            kill: fn(&mut Child) -> Result<()>,
            id: fn(&Child) -> u32,
            wait: fn(&mut Child) -> Result<process::ExitStatus>,
            try_wait: fn(&mut Child) -> Result<Option<process::ExitStatus>>,
            wait_with_output: fn(Child) -> Result<process::Output>,
        });
        let stdin = members!("io/struct.Stdin", Stdin {
            lock: fn(&Stdin) -> Lock,
            read_line: fn(&Stdin, &mut String) -> Result<usize>,
            lines: fn(Stdin) -> Lines,
        });
        vec![types, command, unix_command, child, stdin]
    }

    fn files() -> Vec<Page> {
        let types = items!("fs/", fs {
            DirBuilder, DirEntry, File, FileTimes, FileType, Metadata, OpenOptions, Permissions, ReadDir,
        });
        let functions = members!("fs/", fs {
            canonicalize: fn(Place) -> Result<PathBuf>,
            copy: fn(Place, Place) -> Result<u64>,
            create_dir: fn(Place) -> Result<()>,
            create_dir_all: fn(Place) -> Result<()>,
            exists: fn(Place) -> Result<bool>,
            hard_link: fn(Place, Place) -> Result<()>,
            metadata: fn(Place) -> Result<fs::Metadata>,
            read: fn(Place) -> Result<Vec<u8>>,
            read_dir: fn(Place) -> Result<ReadDir>,
            read_link: fn(Place) -> Result<PathBuf>,
            read_to_string: fn(Place) -> Result<String>,
            remove_dir: fn(Place) -> Result<()>,
            remove_dir_all: fn(Place) -> Result<()>,
            remove_file: fn(Place) -> Result<()>,
            rename: fn(Place, Place) -> Result<()>,
            set_permissions: fn(Place, fs::Permissions) -> Result<()>,
            symlink_metadata: fn(Place) -> Result<fs::Metadata>,
            write: fn(Place, &'static [u8]) -> Result<()>,
        });
        let of_unix = members!("os/unix/fs/", unix_fs {
            chown: fn(Place, Option<u32>, Option<u32>) -> Result<()>,
            lchown: fn(Place, Option<u32>, Option<u32>) -> Result<()>,
            symlink: fn(Place, Place) -> Result<()>,
        });
        let file = members!("fs/struct.File", File {
            open: fn(Place) -> Result<File>,
            create: fn(Place) -> Result<File>,
            create_new: fn(Place) -> Result<File>,
            options: fn() -> OpenOptions,
            sync_all: fn(&File) -> Result<()>,
            sync_data: fn(&File) -> Result<()>,
            set_len: fn(&File, u64) -> Result<()>,
            metadata: fn(&File) -> Result<fs::Metadata>,
            try_clone: fn(&File) -> Result<File>,
            set_permissions: fn(&File, fs::Permissions) -> Result<()>,
            set_times: fn(&File, fs::FileTimes) -> Result<()>,
            set_modified: fn(&File, SystemTime) -> Result<()>,
        });
        let options = members!("fs/struct.OpenOptions", OpenOptions {
            new: fn() -> OpenOptions,
            read: fn(&mut OpenOptions, bool) -> &mut OpenOptions,
            write: fn(&mut OpenOptions, bool) -> &mut OpenOptions,
            append: fn(&mut OpenOptions, bool) -> &mut OpenOptions,
            truncate: fn(&mut OpenOptions, bool) -> &mut OpenOptions,
            create: fn(&mut OpenOptions, bool) -> &mut OpenOptions,
            create_new: fn(&mut OpenOptions, bool) -> &mut OpenOptions,
            open: fn(&OpenOptions, Place) -> Result<File>,
        });
        let entry = members!("fs/struct.DirEntry", DirEntry {
            path: fn(&DirEntry) -> PathBuf,
            metadata: fn(&DirEntry) -> Result<fs::Metadata>,
            file_type: fn(&DirEntry) -> Result<fs::FileType>,
            file_name: fn(&DirEntry) -> OsString,
        });
        let builder = members!("fs/struct.DirBuilder", DirBuilder {
            new: fn() -> DirBuilder,
            recursive: fn(&mut DirBuilder, bool) -> &mut DirBuilder,
            create: fn(&DirBuilder, Place) -> Result<()>,
        });
        vec![types, functions, of_unix, file, options, entry, builder]
    }

    /// Traits.
    pub(crate) fn traits() -> Vec<Page> {
        [traits_of_sockets(), traits_of_the_rest()].concat()
    }

    fn traits_of_sockets() -> Vec<Page> {
        vec![
            traits!("net/struct.TcpStream" {
                TcpStream => AsFd, AsRawFd, IntoRawFd, Debug, From<OwnedFd>, Read, Write;
                &TcpStream => Read, Write;
                OwnedFd => From<TcpStream>;
            }),
            traits!("net/struct.TcpListener" {
                TcpListener => AsFd, AsRawFd, IntoRawFd, Debug, From<OwnedFd>;
                OwnedFd => From<TcpListener>;
            }),
            traits!("net/struct.Incoming" { Incoming<'static> => Debug, Iterator, FusedIterator; }),
            traits!("net/struct.UdpSocket" {
                UdpSocket => AsFd, AsRawFd, IntoRawFd, Debug, From<OwnedFd>;
                OwnedFd => From<UdpSocket>;
            }),
            traits!("net/trait.ToSocketAddrs" {
                SocketAddr => ToSocketAddrs; SocketAddrV4 => ToSocketAddrs; SocketAddrV6 => ToSocketAddrs;
                (IpAddr, u16) => ToSocketAddrs; (Ipv4Addr, u16) => ToSocketAddrs; (Ipv6Addr, u16) => ToSocketAddrs;
                (&str, u16) => ToSocketAddrs; (String, u16) => ToSocketAddrs; str => ToSocketAddrs;
                String => ToSocketAddrs; &[SocketAddr] => ToSocketAddrs; &T => ToSocketAddrs;
            }),
            traits!("os/unix/net/struct.UnixStream" {
                UnixStream => AsFd, AsRawFd, IntoRawFd, Debug, From<OwnedFd>, Read, Write;
                &UnixStream => Read, Write;
                OwnedFd => From<UnixStream>;
            }),
            traits!("os/unix/net/struct.UnixListener" {
                UnixListener => AsFd, AsRawFd, IntoRawFd, Debug, From<OwnedFd>;
                &UnixListener => IntoIterator;
                OwnedFd => From<UnixListener>;
            }),
            traits!("os/unix/net/struct.Incoming" { UnixIncoming<'static> => Debug, Iterator; }),
            traits!("os/unix/net/struct.UnixDatagram" {
                UnixDatagram => AsFd, AsRawFd, IntoRawFd, Debug, From<OwnedFd>;
                OwnedFd => From<UnixDatagram>;
            }),
        ]
    }

    fn traits_of_the_rest() -> Vec<Page> {
        vec![
            traits!("process/struct.Command" { Command => Debug; }),
            traits!("process/struct.Child" { Child => Debug; }),
            traits!("process/struct.ChildStdin" {
                ChildStdin => AsFd, AsRawFd, IntoRawFd, Debug, From<OwnedFd>, Write;
                &ChildStdin => Write;
                OwnedFd => From<ChildStdin>;
                process::Stdio => From<ChildStdin>;
            }),
            traits!("process/struct.ChildStdout" {
                ChildStdout => AsFd, AsRawFd, IntoRawFd, Debug, From<OwnedFd>, Read;
                OwnedFd => From<ChildStdout>;
                process::Stdio => From<ChildStdout>;
            }),
            traits!("process/struct.ChildStderr" {
                ChildStderr => AsFd, AsRawFd, IntoRawFd, Debug, From<OwnedFd>, Read;
                OwnedFd => From<ChildStderr>;
                process::Stdio => From<ChildStderr>;
            }),
            traits!("fs/struct.File" {
                File => AsFd, AsRawFd, IntoRawFd, Debug, From<OwnedFd>, FileExt, Read, Seek, Write;
                &File => Read, Seek, Write;
                OwnedFd => From<File>;
                process::Stdio => From<File>;
            }),
            traits!("fs/struct.OpenOptions" { OpenOptions => Clone, Debug, OpenOptionsExt; }),
            traits!("fs/struct.ReadDir" { ReadDir => Debug, Iterator; }),
            traits!("fs/struct.DirEntry" { DirEntry => Debug, DirEntryExt; }),
            traits!("fs/struct.DirBuilder" { DirBuilder => Debug, DirBuilderExt; }),
            traits!("io/struct.Stdin" {
                Stdin => AsFd, AsRawFd, Debug, Read;
                &Stdin => Read;
            }),
            traits!("io/struct.StdinLock" { Lock => AsFd, AsRawFd, BufRead, Debug, Read; }),
        ]
    }

    /// What `catch_unwind` asks for.
    #[allow(dead_code)] // for the compiler alone
    fn unwind_safe() {
        fn are<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe + Unpin>() {}
        are::<(TcpStream, TcpListener, UdpSocket, Incoming<'_>)>();
        are::<(UnixStream, UnixListener, UnixDatagram, UnixIncoming<'_>)>();
        are::<(Child, ChildStdin, ChildStdout, ChildStderr)>();
        are::<(DirBuilder, DirEntry, File, OpenOptions, ReadDir, Stdin, Lock)>();
    }
}
