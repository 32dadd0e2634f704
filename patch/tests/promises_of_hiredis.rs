//! hiredis, as the distribution built it, against a Redis that the test starts.

#[path = "support/dynamic.rs"]
mod dynamic;
#[path = "support/proof.rs"]
mod proof;
#[path = "support/servers.rs"]
mod servers;
mod support;

use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_void};

use dynamic::Dynamic;
use proof::proves;
use servers::Server;
use support::{ms, patched, takes};

/// The head of a `redisReply`, which is the same in all versions.
#[repr(C)]
struct Reply {
    kind: c_int,
    integer: c_longlong,
}

/// Kinds of replies, from `read.h`.
const INTEGER: c_int = 3;
const NIL: c_int = 4;

/// The functions of hiredis that are used.
#[derive(Clone, Copy)]
struct Hiredis {
    connect: unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void,
    connect_unix: unsafe extern "C" fn(*const c_char) -> *mut c_void,
    command: unsafe extern "C" fn(*mut c_void, *const c_char, ...) -> *mut Reply,
    free_reply: unsafe extern "C" fn(*mut Reply),
    free: unsafe extern "C" fn(*mut c_void),
}

/// A connection.
struct Connection {
    library: Hiredis,
    connection: *mut c_void,
}

impl Hiredis {
    /// The Debian package has the version in the file's name, and releases have different ones.
    fn load() -> Hiredis {
        let names = [c"libhiredis.so.0.14", c"libhiredis.so.1.1.0", c"libhiredis.so.1"];
        let library = names.into_iter().find_map(Dynamic::find).expect("hiredis is installed");
        // SAFETY: the types are those of hiredis.h.
        unsafe {
            Hiredis {
                connect: library.function(c"redisConnect"),
                connect_unix: library.function(c"redisConnectUnix"),
                command: library.function(c"redisCommand"),
                free_reply: library.function(c"freeReplyObject"),
                free: library.function(c"redisFree"),
            }
        }
    }

    fn open(self, host: &CStr, port: c_int) -> Connection {
        // SAFETY: a C string.
        Connection { library: self, connection: unsafe { (self.connect)(host.as_ptr(), port) } }
    }

    fn open_unix(self, path: &CStr) -> Connection {
        // SAFETY: a C string.
        Connection { library: self, connection: unsafe { (self.connect_unix)(path.as_ptr()) } }
    }
}

impl Connection {
    /// The reply's kind and number; `None` if the connection failed.
    fn command(&self, command: &str) -> Option<(c_int, c_longlong)> {
        let command = CString::new(command).unwrap();
        // SAFETY: a connection, and a command without parameters; the reply is freed once.
        unsafe {
            let reply = (self.library.command)(self.connection, command.as_ptr());
            let (kind, integer) = (!reply.is_null()).then(|| ((*reply).kind, (*reply).integer))?;
            (self.library.free_reply)(reply);
            Some((kind, integer))
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: freed once.
        unsafe { (self.library.free)(self.connection) };
    }
}

#[test]
fn fifty_waits_of_hiredis_take_as_long_as_one() {
    patched("fifty_waits_of_hiredis_take_as_long_as_one", || {
        let library = Hiredis::load();
        let server = Server::redis("hiredis");
        let work = |number: usize, connection: Connection| {
            // Nobody pushes anything.
            let nothing = connection.command("BLPOP nothing 0.2").unwrap();
            assert_eq!(nothing.0, NIL);
            let number = connection.command(&format!("EVAL return({number}) 0"));
            assert_eq!(number.unwrap().0, INTEGER);
            (nothing.0, number)
        };
        let port = c_int::from(server.port);
        proves("hiredis over TCP", 50, move |_| library.open(c"127.0.0.1", port), work);
        let path = CString::new(server.file("redis.sock")).unwrap();
        proves("hiredis over a Unix socket", 50, move |_| library.open_unix(&path), work);

        let g = sward::spawn(move || {
            let connection = library.open(c"127.0.0.1", port);
            assert_eq!(connection.command("BLPOP nothing 20"), None);
            drop(connection);
            sward::yield_now();
        });
        sward::sleep(ms(50));
        g.kill();
        takes(ms(0), ms(2000), || assert!(g.join().unwrap_err().is_killed()));
    });
}
