//! A web service as one would write it in Flask: an axum app whose handlers simply block.
//!
//! `cargo run --release -p sward-web --example web_service`, then `curl http://127.0.0.1:8080/hello/`. The chapter is
//! `docs/guide/web_service.md`.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use lexopt::prelude::*;
use serde_json::json;
use sward::web::{Listen, Server};

#[path = "service/accounts.rs"]
mod accounts;
#[path = "service/postgres.rs"]
mod postgres;

use accounts::{Account, Accounts, Failure};

const HELP: &str = "\
A web service whose handlers block:

  GET /hello/                 sleeps 1 s, answers Hello World!
  GET /sleep/timer/?s=5       sleeps, answers all accounts
  GET /sleep/postgres/?s=5    as above, by SELECT pg_sleep(s)
  GET /cpu/?n=20              n times 50 ms of pure computing; &rude=1: without letting others run in between

Usage: web_service [options]

  --addr A             where to listen, port 0 for any free one  [127.0.0.1:8080]
  --uds PATH           listen on a Unix socket instead
  --threads N          hubs, one OS thread each  [1]
  --max-connections N  the most connections at a time on each hub
  --postgres URL       keep the accounts in PostgreSQL (host=... user=... or postgres://...), not in an embedded SQLite
  --pool N             PostgreSQL connections at most, over all hubs  [40]
  --create-data        make the table and its 50 rows first
  -h, --help           this text

SIGTERM and SIGINT stop it gracefully.
";

/// How long requests may run on after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// The command line.
struct Options {
    /// Where to listen.
    addr: String,
    /// A Unix socket instead.
    uds: Option<PathBuf>,
    /// How many hubs.
    threads: usize,
    /// The most connections on each.
    max_connections: Option<usize>,
    /// The database.
    postgres: Option<String>,
    /// The most connections to it.
    pool: usize,
    /// Whether to make the data.
    create_data: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("web_service: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let Some(options) = options()? else {
        print!("{HELP}");
        return Ok(());
    };
    let accounts = match &options.postgres {
        Some(url) => Accounts::in_postgres(url, options.pool.div_ceil(options.threads))?,
        None => Accounts::in_sqlite()?,
    };
    if options.create_data || options.postgres.is_none() {
        accounts.create()?;
    }
    let app = app(accounts);
    match &options.uds {
        Some(path) => {
            let server = Server::bind_unix(path).map_err(|error| format!("cannot listen on {path:?}: {error}"))?;
            println!("listening on {}", path.display());
            let result = serve(server, &options, app);
            _ = std::fs::remove_file(path);
            result?;
        }
        None => {
            let addr = &*options.addr;
            let server = Server::bind(addr).map_err(|error| format!("cannot listen on {addr}: {error}"))?;
            println!("listening on http://{}", server.local_addr()?);
            serve(server, &options, app)?;
        }
    }
    Ok(())
}

/// The command line; none if it asks for help.
fn options() -> Result<Option<Options>, Failure> {
    let mut options = Options {
        addr: "127.0.0.1:8080".to_owned(),
        uds: None,
        threads: 1,
        max_connections: None,
        postgres: None,
        pool: 40,
        create_data: false,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("addr") => options.addr = arguments.value()?.string()?,
            Long("uds") => options.uds = Some(arguments.value()?.into()),
            Long("threads") => options.threads = arguments.value()?.parse::<usize>()?.max(1),
            Long("max-connections") => options.max_connections = Some(arguments.value()?.parse::<usize>()?.max(1)),
            Long("postgres") => options.postgres = Some(arguments.value()?.string()?),
            Long("pool") => options.pool = arguments.value()?.parse::<usize>()?.max(1),
            Long("create-data") => options.create_data = true,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(Some(options))
}

/// Serves until SIGTERM.
fn serve<L: Listen>(server: Server<L>, options: &Options, app: Router) -> std::io::Result<()> {
    let mut server = server.stop_on_signal(GRACE);
    if let Some(max) = options.max_connections {
        server = server.pool(max);
    }
    match options.threads {
        1 => server.serve_service(app),
        n => server.threads(n).serve_service(app),
    }
}

/// The routes. The handlers are `async` because axum wants them so; they await nothing, they block.
fn app(accounts: Accounts) -> Router {
    Router::new()
        .route("/hello/", get(hello))
        .route("/sleep/timer/", get(sleep_by_timer))
        .route("/sleep/postgres/", get(sleep_by_postgres))
        .route("/cpu/", get(compute))
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

/// Computes without blocking. Nothing can interrupt that: it is up to the handler to let others run.
async fn compute(Query(query): Arguments) -> Response {
    let Some(n) = number(&query, "n", 20.0) else { return bad_request("n is a number") };
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
    format!("{value}\n").into_response()
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
