//! UDP sockets.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::addr::{ToSocketAddrs, each_addr};
use crate::io::Socket;

/// A UDP socket, as [`std::net::UdpSocket`].
///
/// # Differences from `std::net::UdpSocket`
///
/// - Calls block the greenlet, not the thread; a `kill` or `timeout` ends them.
/// - The socket stays on its thread (`!Send`).
/// - A timeout is reported as `ErrorKind::TimedOut` (std: `WouldBlock` on Unix).
/// - `FromRawFd` is missing, since it is unsafe: use `From<OwnedFd>`.
///
/// ```
/// use sward::net::UdpSocket;
///
/// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// a.send_to(b"ping", b.local_addr()?)?;
/// let mut buf = [0; 16];
/// let (n, from) = b.recv_from(&mut buf)?;
/// assert_eq!((&buf[..n], from), (&b"ping"[..], a.local_addr()?));
/// # std::io::Result::Ok(())
/// ```
pub struct UdpSocket {
    /// The socket.
    socket: Socket<std::net::UdpSocket>,
}

descriptor!(UdpSocket, std::net::UdpSocket);

/// An option of the socket: a method that sets it and one that gets it, both std's.
macro_rules! option {
    ($set:ident, $get:ident: $type:ty, $what:literal, $value:literal) => {
        #[doc = concat!("Sets ", $what, ".")]
        ///
        /// # Errors
        ///
        /// As std's.
        ///
        /// ```
        /// let socket = sward::net::UdpSocket::bind("127.0.0.1:0")?;
        #[doc = concat!("socket.", stringify!($set), "(", $value, ")?;")]
        #[doc = concat!("assert_eq!(socket.", stringify!($get), "()?, ", $value, ");")]
        /// # std::io::Result::Ok(())
        /// ```
        pub fn $set(&self, value: $type) -> io::Result<()> {
            self.socket.get_ref().$set(value)
        }

        #[doc = concat!("Tells ", $what, ".")]
        ///
        /// # Errors
        ///
        /// As std's.
        ///
        /// ```
        /// let socket = sward::net::UdpSocket::bind("127.0.0.1:0")?;
        #[doc = concat!("println!(\"{}\", socket.", stringify!($get), "()?);")]
        /// # std::io::Result::Ok(())
        /// ```
        pub fn $get(&self) -> io::Result<$type> {
            self.socket.get_ref().$get()
        }
    };
}

impl UdpSocket {
    /// Binds to the first of the addresses that can be had. Blocks the greenlet while it looks up a
    /// name.
    ///
    /// # Errors
    ///
    /// As std's: that of the last address.
    ///
    /// ```
    /// let socket = sward::net::UdpSocket::bind("127.0.0.1:0")?;
    /// assert_ne!(socket.local_addr()?.port(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<UdpSocket> {
        each_addr(addr, |addr| std::net::UdpSocket::bind(addr).map(UdpSocket::from))
    }

    /// Receives a datagram and tells who sent it. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's; `ErrorKind::TimedOut` when the read timeout passes.
    ///
    /// ```
    /// # let (a, b) = (sward::net::UdpSocket::bind("127.0.0.1:0")?, sward::net::UdpSocket::bind("127.0.0.1:0")?);
    /// # a.connect(b.local_addr()?)?;
    /// # b.connect(a.local_addr()?)?;
    /// a.send(b"hi")?;
    /// let mut buf = [0; 8];
    /// assert_eq!(b.recv_from(&mut buf)?, (2, a.local_addr()?));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.read("UdpSocket::recv_from", |io| io.recv_from(buf))
    }

    /// As [`recv_from`](UdpSocket::recv_from), and leaves the datagram in the socket. Blocks the
    /// greenlet.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// ```
    /// # let (a, b) = (sward::net::UdpSocket::bind("127.0.0.1:0")?, sward::net::UdpSocket::bind("127.0.0.1:0")?);
    /// # a.connect(b.local_addr()?)?;
    /// # b.connect(a.local_addr()?)?;
    /// a.send(b"hi")?;
    /// assert_eq!(b.peek_from(&mut [0; 8])?.0, 2);
    /// assert_eq!(b.recv_from(&mut [0; 8])?.0, 2); // still there
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.read("UdpSocket::peek_from", |io| io.peek_from(buf))
    }

    /// Sends a datagram to the first of the addresses. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's; `ErrorKind::TimedOut` when the write timeout passes.
    ///
    /// ```
    /// # use sward::net::UdpSocket;
    /// # let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    /// assert_eq!(a.send_to(b"hi", b.local_addr()?)?, 2);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let addr = addr.to_socket_addrs()?.next();
        let addr = addr.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to"))?;
        self.socket.write("UdpSocket::send_to", |io| io.send_to(buf, addr))
    }

    /// Connects to the first of the addresses that can be had: the peer of `send` and `recv`.
    ///
    /// # Errors
    ///
    /// As std's: that of the last address.
    ///
    /// ```
    /// use sward::net::UdpSocket;
    /// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    /// a.connect(b.local_addr()?)?;
    /// b.connect(a.local_addr()?)?;
    /// a.send(b"hi")?;
    /// assert_eq!(b.recv(&mut [0; 8])?, 2);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        each_addr(addr, |addr| self.socket.get_ref().connect(addr))
    }

    /// Sends a datagram to the connected peer. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's; `ErrorKind::TimedOut` when the write timeout passes.
    ///
    /// ```
    /// # let (a, b) = (sward::net::UdpSocket::bind("127.0.0.1:0")?, sward::net::UdpSocket::bind("127.0.0.1:0")?);
    /// # a.connect(b.local_addr()?)?;
    /// # b.connect(a.local_addr()?)?;
    /// assert_eq!(a.send(b"hi")?, 2);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.write("UdpSocket::send", |io| io.send(buf))
    }

    /// Receives a datagram from the connected peer. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's; `ErrorKind::TimedOut` when the read timeout passes.
    ///
    /// ```
    /// # let (a, b) = (sward::net::UdpSocket::bind("127.0.0.1:0")?, sward::net::UdpSocket::bind("127.0.0.1:0")?);
    /// # a.connect(b.local_addr()?)?;
    /// # b.connect(a.local_addr()?)?;
    /// a.send(b"hi")?;
    /// assert_eq!(b.recv(&mut [0; 8])?, 2);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read("UdpSocket::recv", |io| io.recv(buf))
    }

    /// As [`recv`](UdpSocket::recv), and leaves the datagram in the socket. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// ```
    /// # let (a, b) = (sward::net::UdpSocket::bind("127.0.0.1:0")?, sward::net::UdpSocket::bind("127.0.0.1:0")?);
    /// # a.connect(b.local_addr()?)?;
    /// # b.connect(a.local_addr()?)?;
    /// a.send(b"hi")?;
    /// assert_eq!(b.peek(&mut [0; 8])?, 2);
    /// assert_eq!(b.recv(&mut [0; 8])?, 2); // still there
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read("UdpSocket::peek", |io| io.peek(buf))
    }

    /// The address of the connected peer.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let (a, b) = (sward::net::UdpSocket::bind("127.0.0.1:0")?, sward::net::UdpSocket::bind("127.0.0.1:0")?);
    /// # a.connect(b.local_addr()?)?;
    /// # b.connect(a.local_addr()?)?;
    /// assert_eq!(a.peer_addr()?, b.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().peer_addr()
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let (a, b) = (sward::net::UdpSocket::bind("127.0.0.1:0")?, sward::net::UdpSocket::bind("127.0.0.1:0")?);
    /// # a.connect(b.local_addr()?)?;
    /// # b.connect(a.local_addr()?)?;
    /// assert!(a.local_addr()?.ip().is_loopback());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    option!(set_broadcast, broadcast: bool, "whether it may send to a broadcast address (`SO_BROADCAST`)", true);
    option!(
        set_multicast_loop_v4, multicast_loop_v4: bool,
        "whether multicast packets also come back to this host (`IP_MULTICAST_LOOP`)", false
    );
    option!(
        set_multicast_ttl_v4, multicast_ttl_v4: u32,
        "the time to live of multicast packets (`IP_MULTICAST_TTL`)", 2
    );

    /// Sets whether IPv6 multicast packets also come back to this host (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let Ok(socket) = sward::net::UdpSocket::bind("[::]:0") else { return Ok(()) }; // no IPv6 here
    /// socket.set_multicast_loop_v6(false)?;
    /// assert!(!socket.multicast_loop_v6()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn set_multicast_loop_v6(&self, value: bool) -> io::Result<()> {
        self.socket.get_ref().set_multicast_loop_v6(value)
    }

    /// Tells whether IPv6 multicast packets also come back to this host.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let Ok(socket) = sward::net::UdpSocket::bind("[::]:0") else { return Ok(()) }; // no IPv6 here
    /// assert!(socket.multicast_loop_v6()?); // unless it is switched off
    /// # std::io::Result::Ok(())
    /// ```
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.socket.get_ref().multicast_loop_v6()
    }

    /// Joins a multicast group on the interface with the given address (`IP_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    /// let socket = sward::net::UdpSocket::bind("0.0.0.0:0")?;
    /// let group = Ipv4Addr::new(239, 1, 2, 3);
    /// socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    /// socket.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.get_ref().join_multicast_v4(group, interface)
    }

    /// Joins a multicast group on the interface with the given index (`IPV6_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let Ok(socket) = sward::net::UdpSocket::bind("[::]:0") else { return Ok(()) }; // no IPv6 here
    /// use std::net::Ipv6Addr;
    /// let group = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 0x1234);
    /// let loopback = 1;
    /// socket.join_multicast_v6(&group, loopback)?;
    /// socket.leave_multicast_v6(&group, loopback)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.get_ref().join_multicast_v6(group, interface)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    /// let socket = sward::net::UdpSocket::bind("0.0.0.0:0")?;
    /// let group = Ipv4Addr::new(239, 1, 2, 4);
    /// socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    /// socket.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.get_ref().leave_multicast_v4(group, interface)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let Ok(socket) = sward::net::UdpSocket::bind("[::]:0") else { return Ok(()) }; // no IPv6 here
    /// use std::net::Ipv6Addr;
    /// let group = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 0x1234);
    /// let loopback = 1;
    /// socket.join_multicast_v6(&group, loopback)?;
    /// socket.leave_multicast_v6(&group, loopback)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.get_ref().leave_multicast_v6(group, interface)
    }

    common_methods!(UdpSocket, "# let socket = sward::net::UdpSocket::bind(\"127.0.0.1:0\")?;");
    timeout_methods!("# let socket = sward::net::UdpSocket::bind(\"127.0.0.1:0\")?;");
    ttl_methods!("# let socket = sward::net::UdpSocket::bind(\"127.0.0.1:0\")?;");
}
