//! HTTPS: the same server behind certificates.
#![cfg(feature = "tls")]

mod support;

use std::io::{Read, Write};
use std::sync::Arc;

use support::{Running, bind, ms, read_answer, tls_configs, watched};
use sward::tls::Connector;
use sward::tls::rustls::server::{ClientHello, ResolvesServerCert};
use sward::tls::rustls::sign::CertifiedKey;
use sward::web::{Body, Reply, Request, Response, Server};

/// An encrypted server that echoes, and who trusts it.
fn start() -> std::io::Result<(Running, Connector)> {
    let (server_config, client_config) = tls_configs();
    let server: Server = bind()?.tls(Arc::new(server_config));
    let (addr, handle) = (server.local_addr()?, server.handle());
    let echo = |request: Request<Body>| Response::new(Reply::from(request.into_body()));
    let serving = sward::spawn(move || server.serve(echo));
    Ok((Running { addr, handle, serving }, Connector::new(Arc::new(client_config))))
}

#[test]
fn requests_are_answered_over_tls() {
    watched(|| {
        let (server, connector) = start()?;
        let mut stream = connector.connect("localhost", server.connect()?)?;
        for body in ["hello", "again"] {
            write!(stream, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n{body}")?;
            assert!(read_answer(&mut stream)?.ends_with(&format!("\r\n\r\n{body}")));
        }
        let body = "0123456789".repeat(100_000);
        let mut answer = String::new();
        sward::scope(|s| {
            // Full duplex: the answer begins before the request has ended.
            s.spawn(|| {
                let head = format!(
                    "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                (&stream).write_all(head.as_bytes())?;
                (&stream).write_all(body.as_bytes())
            });
            (&stream).read_to_string(&mut answer)
        })?;
        assert!(answer.ends_with(&body), "{} bytes", answer.len());
        server.stop()
    });
}

#[test]
fn plain_text_on_a_tls_port_harms_nobody() {
    watched(|| {
        let (server, connector) = start()?;
        let answer = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(answer.is_err() || !answer.unwrap().contains("200"));
        let mut stream = connector.connect("localhost", server.connect()?)?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(read_answer(&mut stream)?.starts_with("HTTP/1.1 200 OK\r\n"));
        drop(stream);
        server.stop()
    });
}

#[test]
fn a_handshake_that_does_not_come_ends_its_connection_only() {
    watched(|| {
        let (server_config, client_config) = tls_configs();
        let server: Server = bind()?.tls(Arc::new(server_config)).head_timeout(Some(ms(50)));
        let server = support::start_with(server, |_| Response::new("hello"))?;
        // One says nothing, and one begins.
        let (mut silent, mut slow) = (server.connect()?, server.connect()?);
        slow.write_all(b"\x16\x03\x01\x02")?;
        let connector = Connector::new(Arc::new(client_config));
        let mut stream = connector.connect("localhost", server.connect()?)?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(read_answer(&mut stream)?.ends_with("hello"));
        for stream in [&mut silent, &mut slow] {
            assert_eq!(stream.read(&mut [0; 16])?, 0, "closed without a word");
        }
        server.stop()
    });
}

/// Who chooses certificates, and takes its time.
#[derive(Debug)]
struct Slow(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Slow {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        sward::sleep(ms(20));
        self.0.resolve(hello)
    }
}

#[test]
fn what_blocks_in_a_handshake_stops_no_other_connection() {
    watched(|| {
        let (mut server_config, client_config) = tls_configs();
        server_config.cert_resolver = Arc::new(Slow(server_config.cert_resolver.clone()));
        let server: Server = bind()?.tls(Arc::new(server_config));
        let server = support::start_with(server, |_| Response::new("hello"))?;
        let connector = Connector::new(Arc::new(client_config));
        sward::scope(|s| {
            let ask = || {
                let mut stream = connector.connect("localhost", server.connect()?)?;
                for _ in 0..3 {
                    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
                    assert!(read_answer(&mut stream)?.ends_with("hello"));
                    sward::sleep(ms(5));
                }
                std::io::Result::Ok(())
            };
            let asking: Vec<_> = (0..5).map(|_| s.spawn(ask)).collect();
            asking.into_iter().try_for_each(|asking| asking.join().unwrap())
        })?;
        server.stop()
    });
}
