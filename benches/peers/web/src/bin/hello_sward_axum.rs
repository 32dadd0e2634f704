//! "hello world" by axum on sward.

fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let server = sward::web::Server::bind(&*addr)?;
    println!("{}", server.local_addr()?);
    server.serve_service(axum::Router::new().route("/", axum::routing::get(|| async { "Hello, world!" })))
}
