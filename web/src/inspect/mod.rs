//! What is going on, over HTTP: [`sward::inspect`](sward_runtime::inspect) of all hubs of the process, for people and tools.
//!
//! In one line, in a program that serves no HTTP:
//!
//! ```
//! let addr = sward::web::inspect::serve("127.0.0.1:0")?; // a port of your choice, 6060 say
//! println!("see http://{addr}/");
//! # std::io::Result::Ok(())
//! ```
//!
//! In one that does, [`answer`] is a handler, or part of one, for whatever path it is given:
//!
//! | the path ends with | answer |
//! |---|---|
//! | `/` | a page: hubs, their greenlets counted by where they were spawned and what they wait for, and as a tree |
//! | `/calls` | plain text: the tree with the calls of parked greenlets, as [`dump`](sward_runtime::inspect::dump) writes it |
//! | `/json` | the same as the page, as JSON |
//! | `/metrics` | counters and gauges for Prometheus |
//! | `/greenlets` | a profile for pprof: the calls of all parked greenlets, counted |
//! | `/profile?seconds=30` | a profile for pprof: where the threads of all hubs are at work, looked at 100 times a second |
//!
//! `go tool pprof -top http://127.0.0.1:6060/greenlets` reads such a profile; its samples have the labels `hub`,
//! `spawned_at` and `waits_for`.
//!
//! **There is no authentication**, and names, paths and calls are nobody else's business: listen on the loopback interface,
//! or mount it behind what your program asks for everywhere else.
//!
//! # Limits
//!
//! A hub has a second to answer; one that does not is told of as such, and on the page, as JSON and among the calls with the
//! greenlet that keeps it and its calls ([`HubInfo::sample`](sward_runtime::inspect::HubInfo::sample)). Of each
//! hub there are the 1000 greenlets that were spawned first, 10,000 as JSON and 200 among the calls, or so many as `?limit=`
//! asks for, 100,000 at most, and how many are left out; counts and profiles are of all. Names are cut after 200 characters.
//! There is one `/profile` at a time (503 for others), of 300 seconds at most, also if its client does not wait so long.
//!
//! Rows of 100,000 greenlets keep their hub for some 20 ms. A thread that has a hub and waits where that does not run, in a
//! `std::thread::JoinHandle` say, does not answer either.
//!
//! # JSON
//!
//! `{"hubs": [..]}`, each hub with `hub` (its number), `thread` (the name of its thread, or null), `current` (whether it gave
//! this answer) and `answers`. If that is true: `greenlets`, `spawned`, `switches`, `timers` as in
//! [`Stats`](sward_runtime::inspect::Stats); `groups`, each with `spawned_at`, `state`, `waits_for`, `count` and
//! `longest_wait_seconds`; `rows`, each with `id`, `name`, `parent`, `spawned_at` (`file:line`), `state` (`ready`, `running`
//! or `parked`), `waits_for`, `waited_seconds`, `cpu_seconds`, `switches`, null where there is nothing to say; and `left_out`,
//! how many rows are not there. If it is false: `kept_by`, null if that is not known, with `id` (null for the hub itself, at
//! work between two greenlets), `name`, `spawned_at` and `calls`, each call with `function`, `file` and `line`.
//!
//! # Metrics
//!
//! | metric | labels | |
//! |---|---|---|
//! | `sward_hub_info` | `hub`, `thread` | 1 |
//! | `sward_hub_up` | `hub` | 1 if it answers, 0 otherwise: then the others are missing |
//! | `sward_greenlets` | `hub`, `state`, `waits_for` | greenlets, without roots |
//! | `sward_longest_wait_seconds` | `hub`, `waits_for` | for how long the one waits that waits the longest |
//! | `sward_greenlets_spawned_total` | `hub` | greenlets spawned |
//! | `sward_switches_total` | `hub` | greenlets, and the root, resumed |
//! | `sward_timers` | `hub` | limits of waits that run |

mod json;
mod look;
mod metrics;
mod page;
mod pprof;
mod proto;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use sward_net::{TcpListener, ToSocketAddrs};
use sward_runtime::lowlevel::{ThreadPool, offload_to};

use crate::server::Server;

use look::Look;

/// Connections at a time of [`serve`]: each may hold the rows of all greenlets.
const CONNECTIONS: usize = 16;
/// How long one of them may wait for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The most rows of a hub that may be asked for.
const MOST_ROWS: usize = 100_000;
/// The longest profile.
const LONGEST: Duration = Duration::from_secs(300);

/// What `?seconds=` is if it is not there.
const SECONDS: f64 = 30.0;

/// Says what is going on at `addr`, as [`answer`] does, until the process ends; gives the address, which tells the port if
/// it was 0.
///
/// On a thread of its own, 16 connections at a time: it answers also while somebody keeps the caller's, and the caller's root that waits in vain is
/// still told so. A forked child does not answer.
///
/// # Errors
///
/// As [`Server::bind`], and if no thread can be made.
///
/// ```no_run
/// sward::web::inspect::serve("127.0.0.1:6060")?;
/// # std::io::Result::Ok(())
/// ```
pub fn serve<A: ToSocketAddrs>(addr: A) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(addr)?;
    let addr = listener.local_addr()?;
    let listener = OwnedFd::from(listener);
    thread::Builder::new().name("sward-inspect".to_owned()).spawn(move || {
        let server = Server::from(TcpListener::from(listener)).pool(CONNECTIONS).keep_alive(Some(KEEP_ALIVE));
        if let Err(error) = server.serve(|request| answer(&request)) {
            log::error!(target: "sward_web", "inspect::serve at {addr}: {error}");
        }
    })?;
    Ok(addr)
}

/// Answers a request for what is going on; what it asks for is the last part of its path, see the
/// [module's page](self). Blocks the greenlet.
///
/// Mount it at paths that begin with one of your choice, which ends with a slash, as the links on the page are relative.
///
/// # Panics
///
/// If no thread can be made to look up names.
///
/// ```
/// use sward::web::{Body, Reply, Request, Response, inspect};
///
/// fn app(request: Request<Body>) -> Response<Reply> {
///     match request.uri().path() {
///         path if path.starts_with("/sward/") => inspect::answer(&request).map(Reply::from),
///         _ => Response::new("hello".into()),
///     }
/// }
/// ```
///
/// In an `axum::Router` it is `get(|request: Request| async move { inspect::answer(&request).map(Body::from) })`, both at
/// `/sward/` and at `/sward/{what}`.
pub fn answer<B>(request: &Request<B>) -> Response<Bytes> {
    let mut response = match request.method() {
        &Method::GET | &Method::HEAD => find(request),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "there is GET and HEAD\n"),
    };
    let headers = response.headers_mut();
    if headers.get(header::CONTENT_TYPE).is_none() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// What is asked for.
fn find<B>(request: &Request<B>) -> Response<Bytes> {
    let what = request.uri().path().rsplit('/').next().unwrap_or_default();
    let query = Query(request.uri().query().unwrap_or_default());
    let limit = |default| query.number("limit").map_or(default, |limit| limit.min(MOST_ROWS as f64) as usize);
    match what {
        "" => {
            let (look, limit) = (Look::closely(), limit(1000));
            elsewhere(move || page::answer(&look, limit))
        }
        "calls" => calls(&query, limit(200)),
        "json" => {
            let (look, limit) = (Look::closely(), limit(10_000));
            elsewhere(move || typed("application/json", json::write(&look, limit)))
        }
        "metrics" => {
            let look = Look::quickly();
            elsewhere(move || typed("text/plain; version=0.0.4; charset=utf-8", metrics::write(&look)))
        }
        "greenlets" => profile(pprof::greenlets()),
        "profile" => match query.number("seconds").unwrap_or(SECONDS) {
            seconds if seconds <= LONGEST.as_secs_f64() => match pprof::time(Duration::from_secs_f64(seconds)) {
                Ok(made) => profile(made),
                Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
            },
            _ => plain(StatusCode::BAD_REQUEST, "seconds is a number, 300 at most\n"),
        },
        _ => {
            let known = "there is nothing here; there are: calls, json, metrics, greenlets, profile, and a page\n";
            plain(StatusCode::NOT_FOUND, known)
        }
    }
}

/// The tree with calls: of all hubs, or of one greenlet.
fn calls(query: &Query<'_>, limit: usize) -> Response<Bytes> {
    let mut look = Look::closely();
    if let Some(hub) = query.text("hub") {
        look.hubs.retain(|found| found.id.to_string() == hub);
    }
    if let Some(id) = query.text("greenlet") {
        look.hubs.iter_mut().for_each(|hub| hub.greenlets.retain(|row| row.id.to_string() == id));
    }
    let mut text = Vec::new();
    // Writing to a vector cannot fail.
    let _ = look.write_calls(&mut text, limit);
    typed("text/plain; charset=utf-8", text)
}

/// A profile.
fn profile(made: Bytes) -> Response<Bytes> {
    typed("application/octet-stream", made)
}

/// Makes an answer on another thread: it may be long, and others are not to wait for it; nor may the stack of a greenlet be
/// large enough. Blocks the greenlet.
fn elsewhere<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> T {
    /// Not those of `offload`: that all of these are blocked may be what is to be found out.
    static THREADS: ThreadPool = ThreadPool::new("sward-inspect-http", 2);
    offload_to(&THREADS, "inspect::answer", make)
}

/// An answer of that type.
fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A line of text.
fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response
}

/// A query string. What is asked for here are numbers: nothing in it needs decoding.
struct Query<'a>(&'a str);

impl Query<'_> {
    /// The value of that name.
    fn text(&self, name: &str) -> Option<&str> {
        self.0.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    }

    /// The same as a number that is not negative; infinite if it is none, so that no limit allows it.
    fn number(&self, name: &str) -> Option<f64> {
        let number = |text: &str| text.parse().ok().filter(|number: &f64| *number >= 0.0);
        self.text(name).map(|text| number(text).unwrap_or(f64::INFINITY))
    }
}
