//! Limits and times, with defaults that survive clients which hold connections and send nothing.

use std::time::Duration;

/// What can be set on a server; each setter of `Server` documents one.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Bytes of a request's head.
    pub(crate) max_head: usize,
    /// Header fields of a request; if it is not set, 100, which is hyper's own limit for HTTP/1: setting that costs time.
    pub(crate) max_headers: Option<usize>,
    /// Bytes of a request's body.
    pub(crate) max_body: u64,
    /// For a request's head, from its first byte.
    pub(crate) head_timeout: Option<Duration>,
    /// For each read of a request's body.
    pub(crate) body_timeout: Option<Duration>,
    /// For the handler.
    pub(crate) request_timeout: Option<Duration>,
    /// For a client that reads nothing of an answer.
    pub(crate) write_timeout: Option<Duration>,
    /// Between two requests.
    pub(crate) keep_alive: Option<Duration>,
    /// Certificates, if connections are encrypted.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<std::sync::Arc<sward_net::tls::rustls::ServerConfig>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_head: 64 * 1024,
            max_headers: None,
            max_body: 64 * 1024 * 1024,
            head_timeout: Some(Duration::from_secs(30)),
            body_timeout: Some(Duration::from_secs(30)),
            request_timeout: None,
            write_timeout: Some(Duration::from_secs(60)),
            keep_alive: Some(Duration::from_secs(75)),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients that send a byte now and then, or nothing, hold a connection only so long. What a handler may take is
    /// the application's own business.
    #[test]
    fn by_default_each_wait_for_a_client_has_a_limit() {
        let Settings { max_head, max_body, head_timeout, body_timeout, write_timeout, keep_alive, .. } =
            Settings::default();
        for limit in [head_timeout, body_timeout, write_timeout, keep_alive] {
            assert!(limit.is_some_and(|limit| limit <= Duration::from_secs(75)), "{limit:?}");
        }
        assert!(max_head <= 64 * 1024 && max_body <= 64 * 1024 * 1024);
    }
}
