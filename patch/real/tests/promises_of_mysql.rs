//! The crate `mysql`, which blocks in std's sockets, against a MariaDB that the test starts.

#[path = "../../tests/support/proof.rs"]
mod proof;
#[path = "../../tests/support/servers.rs"]
mod servers;
#[path = "../../tests/support/mod.rs"]
mod support;

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use proof::proves;
use servers::Server;
use support::{ms, patched, takes};

#[test]
fn fifty_queries_of_mysql_take_as_long_as_one() {
    patched("fifty_queries_of_mysql_take_as_long_as_one", || {
        let server = Server::mariadb("mysql");
        let tcp = OptsBuilder::new().user(Some("root")).ip_or_hostname(Some("127.0.0.1")).tcp_port(server.port);
        let tcp = tcp.prefer_socket(false);
        let unix = OptsBuilder::new().user(Some("root")).socket(Some(server.file("mariadb.sock")));
        for (what, options) in [("mysql over TCP", tcp.clone()), ("mysql over a Unix socket", unix)] {
            let open = move |_| Conn::new(options.clone()).unwrap();
            proves(what, 50, open, |number, mut connection: Conn| {
                let row: Option<(usize, u8)> = connection.exec_first("select ?, sleep(0.2)", (number,)).unwrap();
                let rows =
                    "with recursive n as (select 1 i union all select i + 1 from n where i < 100) select i from n";
                let rows: Vec<usize> = connection.query(rows).unwrap();
                (row, rows.len(), connection.query_drop("select nonsense").unwrap_err().to_string())
            });
        }

        let g = sward::spawn(move || {
            let mut connection = Conn::new(tcp).unwrap();
            let result = connection.query_drop("select sleep(20)");
            assert!(result.is_err(), "the driver was told of an error");
            drop(connection);
            sward::yield_now();
        });
        sward::sleep(ms(100));
        g.kill();
        takes(ms(0), ms(2000), || assert!(g.join().unwrap_err().is_killed()));
    });
}
