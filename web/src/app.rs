//! What answers requests: a closure that blocks, or a tower service.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::pin;

use bytes::Buf;
use http::{Request, Response};
use tower_service::Service;

use crate::body::Body;
use crate::exchange::Exchange;
use crate::reply::{BoxError, Reply};
use crate::wait::wait;

/// An application, whatever it is made of. Runs in the request's greenlet and may block.
pub(crate) trait App {
    /// Answers the exchange's request; an error becomes a 500 and is logged.
    fn answer(&self, exchange: &Exchange);
}

/// What a handler may return: a `Response` of anything that converts into a [`Reply`], or a `Result` of that
/// with any error that can be displayed.
///
/// An `Err` becomes an empty 500 and is logged; or 413, 408 or 400 if the request's body was too large, too slow
/// or malformed.
///
/// ```
/// use sward::web::{Body, Request, Response, Server};
///
/// fn handler(request: Request<Body>) -> Result<Response<String>, std::num::ParseIntError> {
///     let n: u64 = request.uri().path()[1..].parse()?;
///     Ok(Response::new(format!("{}", n * n)))
/// }
///
/// let server = Server::bind("127.0.0.1:0")?;
/// # let handle = server.handle();
/// # sward::spawn(move || handle.stop());
/// server.serve(handler)?;
/// # std::io::Result::Ok(())
/// ```
pub trait IntoAnswer: sealed::Sealed {
    /// The response, or what to log.
    ///
    /// # Errors
    ///
    /// The handler's, as text.
    ///
    /// ```
    /// use sward::web::{IntoAnswer, Response};
    /// assert!(Response::new("fine").into_answer().is_ok());
    /// assert_eq!(Err::<Response<()>, _>("bad luck").into_answer().unwrap_err(), "bad luck");
    /// ```
    fn into_answer(self) -> Result<Response<Reply>, String>;
}

impl<B: Into<Reply>> IntoAnswer for Response<B> {
    fn into_answer(self) -> Result<Response<Reply>, String> {
        Ok(self.map(Into::into))
    }
}

impl<B: Into<Reply>, E: Display> IntoAnswer for Result<Response<B>, E> {
    fn into_answer(self) -> Result<Response<Reply>, String> {
        match self {
            Ok(response) => response.into_answer(),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Keeps `IntoAnswer` to the types above.
mod sealed {
    use super::{Display, Reply, Response};

    /// See there.
    pub trait Sealed {}
    impl<B: Into<Reply>> Sealed for Response<B> {}
    impl<B: Into<Reply>, E: Display> Sealed for Result<Response<B>, E> {}
}

/// A closure.
pub(crate) struct Handler<F>(pub(crate) F);

impl<F, A> App for Handler<F>
where
    F: Fn(Request<Body>) -> A,
    A: IntoAnswer,
{
    fn answer(&self, exchange: &Exchange) {
        exchange.answer(self.0(exchange.take_request()).into_answer());
    }
}

/// A tower service; each request has a clone of it.
pub(crate) struct Tower<S>(pub(crate) S);

impl<S, B> App for Tower<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body + 'static,
    B::Data: Buf,
    B::Error: Into<BoxError>,
{
    fn answer(&self, exchange: &Exchange) {
        let mut service = self.0.clone();
        let mut respond = || {
            wait(pin!(poll_fn(|context| service.poll_ready(context)))).map_err(Into::into)?;
            let response = wait(pin!(service.call(exchange.take_request()))).map_err(Into::into)?;
            let (head, body) = response.into_parts();
            Ok(Response::from_parts(head, Reply::begin_body(body)?))
        };
        exchange.answer(respond().map_err(|error: BoxError| error.to_string()));
    }
}
