//! "hello world" by a plain closure on sward; `/hello/` sleeps a second first.

use sward::web::{Response, Server};

fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let server = Server::bind(&*addr)?;
    println!("{}", server.local_addr()?);
    server.serve(|request| {
        if request.uri().path() == "/hello/" {
            sward::sleep(std::time::Duration::from_secs(1));
        }
        Response::new("Hello, world!")
    })
}
