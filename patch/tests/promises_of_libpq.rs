//! libpq, as the distribution built it, against a PostgreSQL that the test starts.

#[path = "support/dynamic.rs"]
mod dynamic;
mod support;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dynamic::Dynamic;
use support::{greenlets, ms, patched, takes};

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

/// A server in a folder of its own; both gone when dropped.
struct Postgres {
    folder: PathBuf,
    server: Child,
}

impl Postgres {
    /// Starts it; `None` if PostgreSQL is not there.
    fn start(name: &str) -> Option<Postgres> {
        let programs = fs::read_dir("/usr/lib/postgresql").ok().and_then(|mut versions| versions.next());
        let Some(programs) = programs.map(|version| version.unwrap().path().join("bin")) else {
            assert!(std::env::var_os("SWARD_REQUIRE_TOOLS").is_none(), "PostgreSQL is missing");
            eprintln!("skipped: no PostgreSQL");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("sward-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.join("data");
        let made = Self::command(&programs.join("initdb"))
            .args(["--auth=trust", "--username=test", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb: {made}");
        let server = Self::command(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(&folder)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Postgres { folder, server })
    }

    /// PostgreSQL refuses to run as root.
    fn command(program: &Path) -> Command {
        // SAFETY: takes nothing.
        if unsafe { libc::geteuid() } != 0 {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    }

    fn parameters(&self) -> String {
        format!("host={} user=test dbname=postgres", self.folder.display())
    }

    /// Waits until it lets somebody in.
    fn wait(&self, library: Libpq) {
        let end = Instant::now() + Duration::from_secs(20);
        while let Err(error) = library.open(&self.parameters()) {
            assert!(Instant::now() < end, "{error}");
            sward::sleep(ms(50));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SAFETY: our own child, which is not waited for yet. SIGINT: stop at once, and clean up.
        unsafe { libc::kill(self.server.id() as c_int, libc::SIGINT) };
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn fifty_queries_of_libpq_take_as_long_as_one() {
    patched("fifty_queries_of_libpq_take_as_long_as_one", || {
        let Some(library) = Libpq::load() else { return };
        let Some(postgres) = Postgres::start("libpq") else { return };
        postgres.wait(library);
        let parameters = postgres.parameters();
        let connections = greenlets(50, move |_| library.open(&parameters).unwrap());
        let connections = std::rc::Rc::new(connections);
        // One after the other they would take ten seconds.
        takes(ms(200), ms(2000), || {
            greenlets(50, move |number| {
                let value = connections[number].query(&format!("select {number} from pg_sleep(0.2)"));
                assert_eq!(value, Ok(number.to_string()));
            })
        });
        println!("{}", sward::patch::stats());

        let parameters = postgres.parameters();
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
    });
}
