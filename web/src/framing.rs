//! Where a request's body ends.

use http::header::TRANSFER_ENCODING;
use http::{Version, request};
use hyper::body::{Body as _, Incoming};

/// Whether all who read the request agree on it. hyper looks at the last transfer coding alone; a body that is chunked
/// twice (RFC 9112, 6.1), or in a coding that nobody here undoes, would be taken apart differently by whoever came before.
#[inline]
pub(crate) fn is_clear(head: &request::Parts, body: &Incoming) -> bool {
    head.version != Version::HTTP_11 || body.size_hint().exact().is_some() || is_chunked_once(head)
}

/// Whether `chunked` is all that was done to the body.
fn is_chunked_once(head: &request::Parts) -> bool {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}
