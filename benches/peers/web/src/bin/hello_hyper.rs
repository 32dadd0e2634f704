//! "hello world" by hyper on tokio's `current_thread` runtime. With `limits` as the second argument it has a timer, as in
//! hyper's own example: a head that does not come within 30 s ends the connection.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or("127.0.0.1:0".into());
    let limits = args.next().is_some_and(|arg| arg == "limits");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_io();
    let mut http = hyper::server::conn::http1::Builder::new();
    if limits {
        runtime.enable_time();
        http.timer(TokioTimer::new());
    }
    runtime.build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(addr).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let http = http.clone();
            tokio::spawn(async move {
                let hello = service_fn(|_| async {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"Hello, world!"))))
                });
                http.serve_connection(TokioIo::new(stream), hello).await
            });
        }
    })
}
