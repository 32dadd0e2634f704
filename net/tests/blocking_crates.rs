//! Crates that know nothing of greenlets, and block on whatever is `Read + Write`, work over our streams.

mod support;

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use redis::{Parser, Value};
use support::{ms, watched};
use sward::net::{Server, TcpStream, UnixStream};
use sward::tls::rustls::pki_types::PrivateKeyDer;
use sward::tls::rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use sward::tls::{Acceptor, Connector};
use sward::{join_all, sleep, spawn};
use tungstenite::Message;

#[test]
fn tungstenite_speaks_websocket_on_both_sides() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        spawn(move || {
            server.serve(|stream, _peer| {
                let mut socket = tungstenite::accept(stream).unwrap();
                while let Ok(message) = socket.read() {
                    if message.is_text() || message.is_binary() {
                        socket.send(message).unwrap();
                    }
                }
            })
        });
        let clients = (0..20_usize).map(|i| {
            spawn(move || {
                let stream = TcpStream::connect(addr).unwrap();
                let (mut socket, answer) = tungstenite::client(format!("ws://{addr}/echo"), stream).unwrap();
                assert_eq!(answer.status(), 101);
                for len in [0, 1, 125, 126, 70_000] {
                    let sent = Message::binary(vec![i as u8; len]);
                    socket.send(sent.clone()).unwrap();
                    assert_eq!(socket.read().unwrap(), sent);
                }
                let sent = Message::text(format!("greenlet {i}"));
                socket.send(sent.clone()).unwrap();
                assert_eq!(socket.read().unwrap(), sent);
                socket.close(None).unwrap();
                // The end of the handshake that closes.
                assert!(matches!(socket.read(), Ok(Message::Close(_))));
                assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
            })
        });
        for client in join_all(clients) {
            client.unwrap();
        }
        handle.stop_timeout(ms(5000));
        Ok(())
    });
}

/// A server's and a client's side of TLS, with a certificate for "localhost" that signs itself.
fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
    let chain = vec![made.cert.der().clone()];
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// rustls' own streams, not `sward::tls`: they know only of `Read + Write`.
#[test]
fn rustls_encrypts_on_both_sides() {
    watched(|| {
        let (for_server, for_client) = tls();
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        spawn(move || {
            server.serve(move |stream, _peer| -> io::Result<()> {
                let connection = ServerConnection::new(for_server.clone()).map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(connection, stream);
                let mut buf = vec![0; 10_000];
                loop {
                    match stream.read(&mut buf)? {
                        0 => return Ok(()),
                        n => stream.write_all(&buf[..n])?,
                    }
                }
            })
        });
        let clients = (0..20_usize).map(|i| {
            let config = for_client.clone();
            spawn(move || -> io::Result<()> {
                let connection = ClientConnection::new(config, "localhost".try_into().unwrap());
                let mut stream = StreamOwned::new(connection.unwrap(), TcpStream::connect(addr)?);
                for len in [1, 100, 70_000] {
                    let (sent, mut received) = (vec![i as u8; len], vec![0; len]);
                    stream.write_all(&sent)?;
                    stream.read_exact(&mut received)?;
                    assert!(sent == received);
                }
                stream.conn.send_close_notify();
                stream.flush()
            })
        });
        for client in join_all(clients) {
            client.unwrap()?;
        }
        handle.stop_timeout(ms(5000));
        Ok(())
    });
}

#[test]
fn tungstenite_works_over_our_tls() {
    watched(|| {
        let (for_server, for_client) = tls();
        let (a, b) = UnixStream::pair()?;
        let serving = spawn(move || {
            let mut socket = tungstenite::accept(Acceptor::new(for_server).accept(a).unwrap()).unwrap();
            while let Ok(message) = socket.read() {
                if message.is_binary() {
                    socket.send(message).unwrap();
                }
            }
        });
        let stream = Connector::new(for_client).connect("localhost", b)?;
        let (mut socket, _answer) = tungstenite::client("ws://localhost/echo", stream).unwrap();
        for len in [0, 1, 70_000] {
            let sent = Message::binary(vec![7; len]);
            socket.send(sent.clone()).unwrap();
            assert_eq!(socket.read().unwrap(), sent);
        }
        socket.close(None).unwrap();
        assert!(matches!(socket.read(), Ok(Message::Close(_))));
        serving.join().unwrap();
        Ok(())
    });
}

/// A server that knows GET and SET; it sends its answers in pieces.
fn redis_server(stream: &TcpStream) -> io::Result<()> {
    let (mut reader, mut parser, mut values) = (BufReader::new(stream), Parser::new(), HashMap::new());
    while let Ok(Value::Array(words)) = parser.parse_value(&mut reader) {
        let words: Vec<_> = words.into_iter().map(|word| redis::from_redis_value::<Vec<u8>>(&word).unwrap()).collect();
        let answer = match words.iter().map(Vec::as_slice).collect::<Vec<_>>()[..] {
            [b"SET", key, value] => {
                values.insert(key.to_vec(), value.to_vec());
                b"+OK\r\n".to_vec()
            }
            [b"GET", key] => match values.get(key) {
                Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
                None => b"$-1\r\n".to_vec(),
            },
            _ => b"-ERR unknown command\r\n".to_vec(),
        };
        let middle = answer.len() / 2;
        (&*stream).write_all(&answer[..middle])?;
        sleep(ms(1));
        (&*stream).write_all(&answer[middle..])?;
    }
    Ok(())
}

#[test]
fn redis_parses_commands_and_answers() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        spawn(move || server.serve(|stream, _peer| redis_server(&stream)));
        let clients = (0..10_usize).map(|i| {
            spawn(move || {
                let mut stream = TcpStream::connect(addr).unwrap();
                let mut parser = Parser::new();
                let mut ask = |command: &redis::Cmd| {
                    stream.write_all(&command.get_packed_command()).unwrap();
                    parser.parse_value(&mut stream)
                };
                let value = vec![i as u8; 1 + 10_000 * i];
                assert_eq!(ask(redis::cmd("GET").arg("key")).unwrap(), Value::Nil);
                assert_eq!(ask(redis::cmd("SET").arg("key").arg(&value)).unwrap(), Value::Okay);
                assert_eq!(ask(redis::cmd("GET").arg("key")).unwrap(), Value::BulkString(value));
                assert!(matches!(ask(&redis::cmd("PING")), Ok(Value::ServerError(_)) | Err(_)));
            })
        });
        for client in join_all(clients) {
            client.unwrap();
        }
        handle.stop_timeout(ms(5000));
        Ok(())
    });
}
