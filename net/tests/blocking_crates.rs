//! Crates that know nothing of greenlets, and block on whatever is `Read + Write`, work over our streams.

mod support;

use std::collections::HashMap;
use std::io::{self, BufReader, Write};

use redis::{Parser, Value};
use support::{ms, watched};
use sward::net::{Server, TcpStream};
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
