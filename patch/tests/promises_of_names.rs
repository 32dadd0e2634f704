//! Names and addresses, by the older functions.

mod support;

use std::ffi::CStr;
use std::ptr;

use libc::c_int;
use support::{greenlets, patched};

unsafe extern "C" {
    fn gethostbyname(name: *const libc::c_char) -> *mut libc::hostent;
    fn gethostbyname_r(
        name: *const libc::c_char,
        host: *mut libc::hostent,
        buffer: *mut libc::c_char,
        len: usize,
        found: *mut *mut libc::hostent,
        error: *mut c_int,
    ) -> c_int;
}

#[test]
fn host_names_come_back_whole() {
    patched("host_names_come_back_whole", || {
        let check = |host: *const libc::hostent| {
            assert!(!host.is_null());
            // SAFETY: a host from libc, with at least one IPv4 address.
            unsafe {
                assert_eq!(CStr::from_ptr((*host).h_name), c"localhost");
                let address = *(*host).h_addr_list;
                assert_eq!(std::slice::from_raw_parts(address.cast::<u8>(), 4), [127, 0, 0, 1]);
            }
        };
        greenlets(8, move |number| {
            // SAFETY: live arguments.
            unsafe {
                let (mut host, mut found, mut error) = (std::mem::zeroed(), ptr::null_mut(), 0);
                let mut buffer = vec![0; 2048 + number];
                let start = buffer.as_mut_ptr().add(number);
                let name = c"localhost".as_ptr();
                assert_eq!(gethostbyname_r(name, &raw mut host, start, 2048, &raw mut found, &raw mut error), 0);
                check(found);
                let tiny = gethostbyname_r(name, &raw mut host, start, 16, &raw mut found, &raw mut error);
                assert_eq!((tiny, found), (libc::ERANGE, ptr::null_mut()));
                check(gethostbyname(name));
            }
        });
    });
}

#[test]
fn names_of_addresses_are_looked_up_on_the_pool() {
    patched("names_of_addresses_are_looked_up_on_the_pool", || {
        greenlets(4, |_| {
            // SAFETY: live arguments.
            unsafe {
                let mut address: libc::sockaddr_in = std::mem::zeroed();
                address.sin_family = libc::AF_INET as u16;
                address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
                let mut host = [0; 256];
                let (address, len) = ((&raw const address).cast(), size_of::<libc::sockaddr_in>() as u32);
                let result = libc::getnameinfo(address, len, host.as_mut_ptr(), 256, ptr::null_mut(), 0, 0);
                assert_eq!(result, 0);
                assert!(!CStr::from_ptr(host.as_ptr()).is_empty());
            }
        });
    });
}
