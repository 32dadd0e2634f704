//! A WebSocket in blocking style: tungstenite over an upgraded connection.

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use support::{start, watched};
use sward::web::{self, Body, Request, Response, Upgraded};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// Answers an upgrade and hands the WebSocket to `f`.
fn websocket(request: &Request<Body>, f: impl FnOnce(WebSocket<Upgraded>) + 'static) -> std::io::Result<Response<()>> {
    web::upgrade(|stream| f(WebSocket::from_raw_socket(stream, Role::Server, None)))?;
    let key = request.headers().get("sec-websocket-key").map_or(&b""[..], |key| key.as_bytes());
    let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
    Ok(response.header("sec-websocket-accept", derive_accept_key(key)).body(()).unwrap())
}

#[test]
fn websockets_share_what_is_not_send() {
    watched(|| {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let server = start({
            let seen = seen.clone();
            move |request| {
                let seen = seen.clone();
                websocket(&request, move |mut socket| {
                    while let Ok(Message::Text(text)) = socket.read() {
                        seen.borrow_mut().push(text.to_string());
                        socket.send(Message::text(text.to_uppercase())).unwrap();
                    }
                })
            }
        })?;
        sward::scope(|s| {
            for _ in 0..10 {
                s.spawn(|| {
                    let url = format!("ws://{}/chat", server.addr);
                    let (mut socket, response) = tungstenite::client(url, server.connect().unwrap()).unwrap();
                    assert_eq!(response.status(), 101);
                    for text in ["hello", "again"] {
                        socket.send(Message::text(text)).unwrap();
                        assert_eq!(socket.read().unwrap(), Message::text(text.to_uppercase()));
                    }
                    socket.close(None).unwrap();
                    while socket.read().is_ok() {}
                });
            }
        });
        assert_eq!(seen.borrow().len(), 20);
        server.stop()
    });
}
