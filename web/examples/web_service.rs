//! A web service as one would write it in Flask: an axum app whose handlers simply block.
//!
//! `cargo run --release -p sward-web --example web_service`, then `curl http://127.0.0.1:8080/hello/`. The chapter is
//! `docs/guide/web_service.md`.

use std::cell::Cell;
use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sward::tls::rustls::ServerConfig;
use sward::tls::rustls::pki_types::pem::PemObject;
use sward::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sward::web::{Listen, Server, inspect};

#[path = "service/accounts.rs"]
mod accounts;
#[cfg(feature = "diesel")]
#[path = "service/diesel.rs"]
mod diesel;
#[path = "service/fetch.rs"]
mod fetch;
#[path = "service/html.rs"]
mod html;
#[path = "service/options.rs"]
mod options;
#[path = "service/postgres.rs"]
pub(crate) mod postgres;

use accounts::{Account, Accounts, Failure};
use options::{Driver, HELP, Options};

/// How long requests may run on after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// A handler that neither blocks nor yields for so long is reported on stderr.
const RUDE: Duration = Duration::from_millis(200);

/// How long a page may take to come.
const FETCH: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("web_service: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves as the arguments say.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let Some(options) = Options::parse(arguments)? else {
        print!("{HELP}");
        return Ok(());
    };
    let tls = match &options.tls {
        None => None,
        Some((certificates, key)) => {
            let wrong = |error| format!("--tls {} {}: {error}", certificates.display(), key.display());
            Some(read_certificates(certificates, key).map_err(wrong)?)
        }
    };
    allow_many_sockets();
    let accounts = match &options.postgres {
        Some(url) => match options.driver {
            Driver::TokioPostgres => Accounts::in_postgres(url, options.pool)?,
            #[cfg(feature = "diesel")]
            Driver::Diesel => Accounts::in_diesel(url, options.pool)?,
        },
        None => Accounts::in_sqlite()?,
    };
    if options.create_data || options.postgres.is_none() {
        accounts.create()?;
    }
    // Better now than at the first request.
    accounts.all().map_err(|error| format!("the accounts: {error}; --create-data makes them"))?;
    let app = app(accounts);
    match &options.uds {
        Some(path) => {
            let server = Server::bind_unix(path).map_err(|error| format!("cannot listen on {path:?}: {error}"))?;
            println!("listening on {}", path.display());
            let result = serve(server, &options, tls, app);
            _ = std::fs::remove_file(path);
            result?;
        }
        None => {
            let addr = &*options.addr;
            let server = Server::bind(addr).map_err(|error| format!("cannot listen on {addr}: {error}"))?;
            let scheme = if options.tls.is_some() { "https" } else { "http" };
            println!("listening on {scheme}://{}", server.local_addr()?);
            serve(server, &options, tls, app)?;
        }
    }
    Ok(())
}

/// A socket is a descriptor, and the usual limit is 1024 of them: asks for as many as may be had.
fn allow_many_sockets() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Refused, there are fewer.
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Serves until SIGTERM.
fn serve<L: Listen>(server: Server<L>, options: &Options, tls: Option<ServerConfig>, app: Router) -> io::Result<()> {
    sward::inspect::watch(RUDE);
    let mut server = server.stop_on_signal(GRACE);
    if let Some(max) = options.max_connections {
        server = server.pool(max);
    }
    if let Some(tls) = tls {
        server = server.tls(Arc::new(tls));
    }
    match options.threads {
        1 => server.serve_service(app),
        n => server.threads(n).serve_service(app),
    }
}

/// What TLS needs, from files in the PEM format.
fn read_certificates(certificates: &Path, key: &Path) -> Result<ServerConfig, Failure> {
    let chain = CertificateDer::pem_file_iter(certificates)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    Ok(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?)
}

/// The routes. The handlers are `async` because axum wants them so; they await nothing, they block.
fn app(accounts: Accounts) -> Router {
    Router::new()
        .route("/hello/", get(hello))
        .route("/sleep/timer/", get(sleep_by_timer))
        .route("/sleep/postgres/", get(sleep_by_postgres))
        .route("/parse/", get(parse))
        .route("/cpu/", get(compute))
        .route("/greenlets/", get(greenlets))
        .route("/greenlets/{what}", get(greenlets))
        .with_state(accounts)
}

/// A query string.
type Arguments = Query<HashMap<String, String>>;

async fn hello() -> &'static str {
    sward::sleep(Duration::from_secs(1));
    "Hello World!"
}

async fn sleep_by_timer(State(accounts): State<Accounts>, Query(query): Arguments) -> Response {
    let Some(seconds) = number(&query, "s", 5.0) else { return bad_request("s is a number of seconds") };
    sward::sleep(Duration::from_secs_f64(seconds));
    answer(accounts.all())
}

async fn sleep_by_postgres(State(accounts): State<Accounts>, Query(query): Arguments) -> Response {
    let Some(seconds) = number(&query, "s", 5.0) else { return bad_request("s is a number of seconds") };
    match accounts.sleep_then_all(seconds) {
        Some(rows) => answer(rows),
        None => {
            let how = "This service runs without PostgreSQL. Start it with --postgres URL --create-data.\n";
            (StatusCode::SERVICE_UNAVAILABLE, how).into_response()
        }
    }
}

/// Fetches a page over a green socket, and has a C library read it.
async fn parse(Query(query): Arguments) -> Response {
    let Some(url) = query.get("url") else { return bad_request("say which page: ?url=http://...") };
    let page = match sward::timeout(FETCH, || fetch::fetch(url)) {
        Ok(Ok(page)) => page,
        Ok(Err(error)) => return (StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response(),
        Err(_) => return (StatusCode::GATEWAY_TIMEOUT, "the page does not come\n").into_response(),
    };
    let bytes = page.len();
    match html::summarize(page) {
        Ok(summary) => Json(json!({"title": summary.title, "links": summary.links, "bytes": bytes})).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// Computes without blocking. Nothing can interrupt that: it is up to the handler to let others run. The answer says
/// how long they have waited, and the watchdog who it was.
async fn compute(Query(query): Arguments) -> Response {
    let Some(n) = number(&query, "n", 20.0) else { return bad_request("n is a number") };
    let pulse = Pulse::begin();
    let mut value = 1_u64;
    for _ in 0..n as u64 {
        let until = Instant::now() + Duration::from_millis(50);
        while Instant::now() < until {
            for _ in 0..1000 {
                value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            }
            if !query.contains_key("rude") {
                sward::yield_now();
            }
        }
    }
    let waited = pulse.end();
    format!("{value}\nothers waited {} ms at most\n", waited.as_millis()).into_response()
}

/// What the greenlets of all hubs are at: a page, and the same for programs.
async fn greenlets(request: Request) -> Response {
    inspect::answer(&request).map(Body::from)
}

/// A greenlet that wants to run every few milliseconds, and notes how late it was.
struct Pulse {
    /// The greenlet.
    greenlet: sward::Greenlet<()>,
    /// When it has run, and how late it was at most.
    beat: Rc<Cell<(Instant, Duration)>>,
}

impl Pulse {
    /// How often it wants to run.
    const PERIOD: Duration = Duration::from_millis(5);

    fn begin() -> Pulse {
        let beat = Rc::new(Cell::new((Instant::now(), Duration::ZERO)));
        let theirs = beat.clone();
        let greenlet = sward::spawn(move || {
            loop {
                sward::sleep(Pulse::PERIOD);
                theirs.set((Instant::now(), Pulse::late(theirs.get())));
            }
        });
        Pulse { greenlet, beat }
    }

    /// How late it was at most, if it runs now.
    fn late((last, late): (Instant, Duration)) -> Duration {
        late.max(last.elapsed().saturating_sub(Pulse::PERIOD))
    }

    /// How late it was at most.
    fn end(self) -> Duration {
        self.greenlet.kill();
        Pulse::late(self.beat.get())
    }
}

/// Accounts as JSON.
fn answer(rows: Result<Vec<Account>, Failure>) -> Response {
    match rows {
        Ok(rows) => {
            let rows = rows
                .into_iter()
                .map(|row| json!({"id": row.id, "title": row.title, "done": row.done, "priority": row.priority}));
            Json(json!({ "accounts": rows.collect::<Vec<_>>() })).into_response()
        }
        Err(error) => failed(&*error),
    }
}

/// A number of the query string, not negative and not beyond an hour.
fn number(query: &HashMap<String, String>, name: &str, default: f64) -> Option<f64> {
    let Some(text) = query.get(name) else { return Some(default) };
    text.parse().ok().filter(|number| (0.0..=3600.0).contains(number))
}

fn bad_request(what: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{what}\n")).into_response()
}

fn failed(error: &dyn Error) -> Response {
    eprintln!("web_service: {error}");
    (StatusCode::INTERNAL_SERVER_ERROR, "the database failed\n").into_response()
}
