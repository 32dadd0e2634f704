//! The access log, in the Common Log Format, through the crate `log`.

use std::time::SystemTime;

use http::StatusCode;
use httpdate::HttpDate;

use crate::exchange::Exchange;

/// Where the lines go: `sward_web::access`, at level `Info`.
const TARGET: &str = "sward_web::access";

/// Writes the line of a request that was answered, or whose client has left. Costs next to nothing if
/// nobody wants it.
pub(crate) fn write(exchange: &Exchange, status: StatusCode, sent: u64) {
    if !log::log_enabled!(target: TARGET, log::Level::Info) {
        return;
    }
    let line = line(exchange, status, sent, &HttpDate::from(SystemTime::now()).to_string());
    log::info!(target: TARGET, "{line}");
}

/// One line; `date` as in HTTP, which has the same parts in another order.
fn line(exchange: &Exchange, status: StatusCode, sent: u64, date: &str) -> String {
    // As other servers do: what ends the field must not be in it.
    let target = exchange.target().replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        r#"{} - - [{}] "{} {target} {:?}" {} {sent}"#,
        exchange.peer(),
        common_log_date(date),
        exchange.method,
        exchange.version,
        status.as_u16(),
    )
}

/// `Tue, 10 Oct 2000 13:55:36 GMT` as `10/Oct/2000:13:55:36 +0000`.
fn common_log_date(date: &str) -> String {
    let mut parts = date.split(' ').skip(1);
    let mut part = || parts.next().unwrap_or("-");
    let (day, month, year, time) = (part(), part(), part(), part());
    format!("{day}/{month}/{year}:{time} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_common_log_format() {
        assert_eq!(common_log_date("Tue, 10 Oct 2000 13:55:36 GMT"), "10/Oct/2000:13:55:36 +0000");
    }
}
