//! libpq, as the distribution built it, against a PostgreSQL that the test starts.

#[path = "support/dynamic.rs"]
mod dynamic;
#[path = "support/proof.rs"]
mod proof;
#[path = "support/servers.rs"]
mod servers;
mod support;

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use dynamic::Dynamic;
use proof::proves;
use servers::Server;
use support::{ms, patched, takes};

/// The functions of libpq that are used.
#[derive(Clone, Copy)]
struct Libpq {
    connect: unsafe extern "C" fn(*const c_char) -> *mut c_void,
    status: unsafe extern "C" fn(*const c_void) -> c_int,
    error: unsafe extern "C" fn(*const c_void) -> *const c_char,
    exec: unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void,
    value: unsafe extern "C" fn(*const c_void, c_int, c_int) -> *const c_char,
    result_status: unsafe extern "C" fn(*const c_void) -> c_int,
    clear: unsafe extern "C" fn(*mut c_void),
    finish: unsafe extern "C" fn(*mut c_void),
}

/// A connection.
struct Connection {
    library: Libpq,
    connection: *mut c_void,
}

impl Libpq {
    fn load() -> Option<Libpq> {
        let library = Dynamic::load(c"libpq.so.5")?;
        // SAFETY: the types are those of libpq-fe.h.
        unsafe {
            Some(Libpq {
                connect: library.function(c"PQconnectdb"),
                status: library.function(c"PQstatus"),
                error: library.function(c"PQerrorMessage"),
                exec: library.function(c"PQexec"),
                value: library.function(c"PQgetvalue"),
                result_status: library.function(c"PQresultStatus"),
                clear: library.function(c"PQclear"),
                finish: library.function(c"PQfinish"),
            })
        }
    }

    fn open(self, parameters: &str) -> Result<Connection, String> {
        let parameters = CString::new(parameters).unwrap();
        // SAFETY: a C string.
        let connection = Connection { library: self, connection: unsafe { (self.connect)(parameters.as_ptr()) } };
        // SAFETY: a connection, open or not.
        if unsafe { (self.status)(connection.connection) } == 0 { Ok(connection) } else { Err(connection.error()) }
    }
}

impl Connection {
    fn error(&self) -> String {
        // SAFETY: valid until the next call on the connection.
        unsafe { CStr::from_ptr((self.library.error)(self.connection)) }.to_string_lossy().into_owned()
    }

    /// The first value of the result.
    fn query(&self, sql: &str) -> Result<String, String> {
        let (sql, library) = (CString::new(sql).unwrap(), self.library);
        // SAFETY: an open connection, and a result that is freed once; 2 is "tuples".
        unsafe {
            let result = (library.exec)(self.connection, sql.as_ptr());
            let value = match (library.result_status)(result) {
                2 => Ok(CStr::from_ptr((library.value)(result, 0, 0)).to_str().unwrap().to_owned()),
                _ => Err(self.error()),
            };
            (library.clear)(result);
            value
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: finished once.
        unsafe { (self.library.finish)(self.connection) };
    }
}

/// One query in each of 50 greenlets, over connections of these parameters.
fn proves_queries(library: Libpq, what: &str, parameters: String) {
    let prepare = move |_| library.open(&parameters).unwrap();
    proves(what, 50, prepare, |number, connection: Connection| {
        let value = connection.query(&format!("select {number} from pg_sleep(0.2)"));
        (value, connection.query(&format!("select repeat('{number}', 1000)")), connection.query("select 1/0"))
    });
}

#[test]
fn fifty_queries_of_libpq_take_as_long_as_one() {
    patched("fifty_queries_of_libpq_take_as_long_as_one", || {
        let Some(library) = Libpq::load() else { return };
        let server = Server::postgres("libpq");
        let port = server.port;
        let unix = format!("host={} port={port} user=test dbname=postgres", server.file(""));
        proves_queries(library, "libpq over a Unix socket", unix.clone());
        let tcp = format!("host=127.0.0.1 port={port} user=test dbname=postgres sslmode=disable");
        proves_queries(library, "libpq over TCP", tcp.clone());
        proves_queries(library, "libpq over TLS", tcp.replace("disable", "require"));

        for parameters in [unix, tcp.replace("disable", "require")] {
            a_kill_ends_a_query(library, parameters);
        }
    });
}

/// A kill while libpq waits for the server: an error for libpq, and then the greenlet unwinds.
fn a_kill_ends_a_query(library: Libpq, parameters: String) {
    let g = sward::spawn(move || {
        let connection = library.open(&parameters).unwrap();
        let error = connection.query("select 1 from pg_sleep(20)").unwrap_err();
        assert!(!error.is_empty());
        drop(connection);
        sward::yield_now();
    });
    sward::sleep(ms(300));
    g.kill();
    takes(ms(0), ms(2000), || assert!(g.join().unwrap_err().is_killed()));
}
