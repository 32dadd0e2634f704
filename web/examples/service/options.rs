//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use super::accounts::Failure;

pub(crate) const HELP: &str = "\
A web service whose handlers block:

  GET /hello/                 sleeps 1 s, answers Hello World!
  GET /sleep/timer/?s=5       sleeps, answers all accounts
  GET /sleep/postgres/?s=5    as above, by SELECT pg_sleep(s)
  GET /parse/?url=http://...  fetches a page, answers what libxml2 finds in it
  GET /cpu/?n=20              n times 50 ms of pure computing; &rude=1: without letting others run in between
  GET /greenlets/             what each greenlet is at: a page, and under it calls, json, metrics, greenlets, profile

Usage: web_service [options]

  --addr A             where to listen, port 0 for any free one  [127.0.0.1:8080]
  --uds PATH           listen on a Unix socket instead
  --tls CERT KEY       HTTPS, with the certificates and the key in these PEM files
  --threads N          hubs, one OS thread each  [1]
  --max-connections N  the most connections at a time on each hub
  --postgres URL       keep the accounts in PostgreSQL (host=... user=... or postgres://...), not in an embedded SQLite
  --driver D           how to reach it: tokio-postgres, or diesel (a build with the feature diesel)  [tokio-postgres]
  --pool N             PostgreSQL connections at most  [40]
  --create-data        make the table and its 50 rows first
  -h, --help           this text

SIGTERM and SIGINT stop it gracefully.
";

/// Who speaks to PostgreSQL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    TokioPostgres,
    #[cfg(feature = "diesel")]
    Diesel,
}

/// The command line.
pub(crate) struct Options {
    /// Where to listen.
    pub(crate) addr: String,
    /// A Unix socket instead.
    pub(crate) uds: Option<PathBuf>,
    /// Files with certificates and with their key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// How many hubs.
    pub(crate) threads: usize,
    /// The most connections on each.
    pub(crate) max_connections: Option<usize>,
    /// The database.
    pub(crate) postgres: Option<String>,
    /// How to reach it.
    pub(crate) driver: Driver,
    /// The most connections to it.
    pub(crate) pool: usize,
    /// Whether to make the data.
    pub(crate) create_data: bool,
}

impl Options {
    /// From the arguments after the program's name; none if they ask for help.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, Failure> {
        let mut options = Options {
            addr: "127.0.0.1:8080".to_owned(),
            uds: None,
            tls: None,
            threads: 1,
            max_connections: None,
            postgres: None,
            driver: Driver::TokioPostgres,
            pool: 40,
            create_data: false,
        };
        let mut arguments = lexopt::Parser::from_args(arguments);
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("addr") => options.addr = arguments.value()?.string()?,
                Long("uds") => options.uds = Some(arguments.value()?.into()),
                Long("tls") => options.tls = Some((arguments.value()?.into(), arguments.value()?.into())),
                Long("threads") => options.threads = arguments.value()?.parse_with(positive)?,
                Long("max-connections") => options.max_connections = Some(arguments.value()?.parse_with(positive)?),
                Long("postgres") => options.postgres = Some(arguments.value()?.string()?),
                Long("driver") => options.driver = arguments.value()?.parse_with(driver)?,
                Long("pool") => options.pool = arguments.value()?.parse_with(positive)?,
                Long("create-data") => options.create_data = true,
                Short('h') | Long("help") => return Ok(None),
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(Some(options))
    }
}

fn positive(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|&n| n > 0).ok_or("not a number above 0")
}

fn driver(name: &str) -> Result<Driver, &'static str> {
    match name {
        "tokio-postgres" => Ok(Driver::TokioPostgres),
        #[cfg(feature = "diesel")]
        "diesel" => Ok(Driver::Diesel),
        #[cfg(not(feature = "diesel"))]
        "diesel" => Err("this program was built without the feature diesel"),
        _ => Err("the drivers are tokio-postgres and diesel"),
    }
}
