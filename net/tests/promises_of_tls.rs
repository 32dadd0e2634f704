//! What `tls` promises.

#![cfg(feature = "tls")]

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use support::{ms, tcp_pair, watched};
use sward::net::{Server, TcpStream, UnixStream};
use sward::tls::rustls::pki_types::PrivateKeyDer;
use sward::tls::rustls::server::WebPkiClientVerifier;
use sward::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use sward::tls::{Acceptor, Connector};
use sward::{scope, spawn, yield_now};

/// A certificate for "localhost" that signs itself, and who trusts it; with client certificates or not.
fn configs(client_certificates: bool) -> (ServerConfig, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = || PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
    let chain = vec![made.cert.der().clone()];
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let roots = Arc::new(roots);
    let server = ServerConfig::builder();
    let client = ClientConfig::builder().with_root_certificates(roots.clone());
    if client_certificates {
        let verifier = WebPkiClientVerifier::builder(roots).build().unwrap();
        let server = server.with_client_cert_verifier(verifier).with_single_cert(chain.clone(), key()).unwrap();
        (server, client.with_client_auth_cert(chain, key()).unwrap())
    } else {
        (server.with_no_client_auth().with_single_cert(chain, key()).unwrap(), client.with_no_client_auth())
    }
}

#[test]
fn bytes_go_both_ways_at_once_from_two_greenlets() {
    watched(|| {
        let (server, client) = configs(false);
        let (a, b) = tcp_pair()?;
        let accepting = spawn(move || Acceptor::new(Arc::new(server)).accept(b));
        let a = Connector::new(Arc::new(client)).connect("localhost", a)?;
        let b = accepting.join().unwrap()?;
        assert_eq!(b.server_name().as_deref(), Some("localhost"));
        const LEN: usize = 3 << 20;
        scope(|s| {
            for (stream, byte) in [(&a, 1), (&b, 2)] {
                s.spawn(move || {
                    let mut stream = stream;
                    stream.write_all(&vec![byte; LEN]).unwrap();
                });
                s.spawn(move || {
                    let mut stream = stream;
                    let mut all = vec![0; LEN];
                    stream.read_exact(&mut all).unwrap();
                    assert!(all.iter().all(|b| *b == 3 - byte));
                });
            }
        });
        a.shutdown()?;
        assert_eq!((&b).read(&mut [0; 4])?, 0);
        (&b).write_all(b"still")?;
        b.shutdown()?;
        assert_eq!(io::read_to_string(&a)?, "still");
        Ok(())
    });
}

#[test]
fn alpn_and_client_certificates_are_agreed_on() {
    watched(|| {
        let (mut server, mut client) = configs(true);
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (a, b) = UnixStream::pair()?;
        let accepting = spawn(move || Acceptor::new(Arc::new(server)).accept(b));
        let a = Connector::new(Arc::new(client)).connect("localhost", a)?;
        let b = accepting.join().unwrap()?;
        assert_eq!(a.alpn_protocol().as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(b.alpn_protocol(), a.alpn_protocol());
        assert_eq!((a.peer_certificates().len(), b.peer_certificates().len()), (1, 1));
        Ok(())
    });
}

#[test]
fn a_silent_or_strange_peer_does_not_hold_a_handshake() {
    watched(|| {
        let (server, client) = configs(false);
        let acceptor = Acceptor::new(Arc::new(server)).handshake_timeout(ms(20));
        let (a, b) = tcp_pair()?;
        let start = Instant::now();
        assert_eq!(acceptor.accept(b).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= ms(20) && start.elapsed() < ms(2000));
        drop(a);
        let (mut a, b) = tcp_pair()?;
        a.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        assert_eq!(acceptor.accept(b).unwrap_err().kind(), ErrorKind::InvalidData);
        let (a, b) = tcp_pair()?;
        drop(a);
        assert_eq!(acceptor.accept(b).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        // Another name than the certificate's.
        let (a, b) = tcp_pair()?;
        spawn(move || acceptor.accept(b).map(drop));
        let error = Connector::new(Arc::new(client)).connect("example.org", a).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        Ok(())
    });
}

#[test]
fn an_interrupted_or_timed_out_read_loses_nothing() {
    watched(|| {
        let (server, client) = configs(false);
        let (a, b) = tcp_pair()?;
        let accepting = spawn(move || Acceptor::new(Arc::new(server)).accept(b));
        let mut a = Connector::new(Arc::new(client)).connect("localhost", a)?;
        let mut b = accepting.join().unwrap()?;
        let mut buf = [0; 8];
        for i in 0..20 {
            b.get_ref().set_read_timeout(Some(ms(2)))?;
            assert_eq!(b.read(&mut buf).unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(sward::timeout(ms(1), || a.read(&mut [0; 8])).is_err());
            a.write_all(&[i; 8])?;
            b.get_ref().set_read_timeout(None)?;
            b.read_exact(&mut buf)?;
            assert_eq!(buf, [i; 8]);
        }
        // Two readers: what one leaves of a record the other gets.
        scope(|s| {
            let readers = [(); 2].map(|()| s.spawn(|| (&b).read_exact(&mut [0; 4])));
            yield_now();
            a.write_all(b"12345678").unwrap();
            readers.into_iter().for_each(|reader| reader.join().unwrap().unwrap());
        });
        // The end of the socket without the end of the TLS stream is an error: truncation.
        drop(a);
        assert_eq!(b.read(&mut buf).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        Ok(())
    });
}

#[test]
fn a_server_makes_handshakes_in_its_handlers() {
    watched(|| {
        let (server_config, client) = configs(false);
        let acceptor = Acceptor::new(Arc::new(server_config));
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        spawn(move || {
            server.serve(move |stream, _| {
                let stream = acceptor.accept(stream)?;
                io::copy(&mut &stream, &mut &stream)?;
                stream.shutdown()
            })
        });
        let _silent = TcpStream::connect(addr)?; // holds up nobody
        let connector = Connector::new(Arc::new(client));
        let clients: Vec<_> = (0..20)
            .map(|i| {
                let connector = connector.clone();
                spawn(move || -> io::Result<()> {
                    let stream = connector.connect("localhost", TcpStream::connect(addr)?)?;
                    (&stream).write_all(format!("hello {i}").as_bytes())?;
                    stream.shutdown()?;
                    assert_eq!(io::read_to_string(&stream)?, format!("hello {i}"));
                    Ok(())
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap()?;
        }
        handle.stop_timeout(ms(0));
        Ok(())
    });
}
