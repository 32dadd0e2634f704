//! HTTP clients that block: libcurl as the distribution built it, and the crate `ureq`.

#[path = "../../tests/support/curl.rs"]
mod curl;
#[path = "../../tests/support/dynamic.rs"]
mod dynamic;
#[path = "../../tests/support/proof.rs"]
mod proof;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "support/web.rs"]
mod web;

use std::ffi::CString;
use std::time::Duration;

use curl::Curl;
use proof::proves;
use support::{ms, patched, takes};
use sward::tls::rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use web::{Web, serve};

/// An agent that trusts the server, and keeps no connections.
fn agent(web: &Web) -> Agent {
    // The first to install it wins, and all install the same.
    let _ = aws_lc_rs::default_provider().install_default();
    let roots = RootCerts::new_with_certs(&[Certificate::from_der(&web.certificate).to_owned()]);
    let tls = TlsConfig::builder().root_certs(roots).build();
    Agent::config_builder().tls_config(tls).timeout_global(Some(Duration::from_secs(20))).build().into()
}

#[test]
fn fifty_requests_of_ureq_take_as_long_as_one() {
    patched("fifty_requests_of_ureq_take_as_long_as_one", || {
        let web = serve();
        for base in [format!("http://{}", web.http), format!("https://localhost:{}", web.https)] {
            let (agent, name) = (agent(&web), if base.starts_with("https") { "https" } else { "http" });
            let get = move |number: usize, ()| {
                let mut response = agent.get(format!("{base}/{number}")).call().unwrap();
                (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
            };
            proves(&format!("ureq, {name}"), 50, |_| (), get);
        }
    });
}

#[test]
fn a_kill_inside_ureq_ends_the_request_and_the_greenlet() {
    patched("a_kill_inside_ureq_ends_the_request_and_the_greenlet", || {
        let web = serve();
        for base in [format!("http://{}", web.http), format!("https://localhost:{}", web.https)] {
            let agent = agent(&web);
            let g = sward::spawn(move || {
                assert!(agent.get(format!("{base}/")).call().is_err(), "ureq was told of an error");
                sward::yield_now();
            });
            sward::sleep(ms(50));
            g.kill();
            takes(ms(0), ms(140), || assert!(g.join().unwrap_err().is_killed()));
        }
    });
}

#[test]
fn fifty_requests_of_libcurl_by_tls_take_as_long_as_one() {
    patched("fifty_requests_of_libcurl_by_tls_take_as_long_as_one", || {
        let (curl, web) = (Curl::load().expect("libcurl is installed"), serve());
        let file = std::env::temp_dir().join(format!("sward-curl-{}.pem", std::process::id()));
        std::fs::write(&file, &web.pem).unwrap();
        let (trusted, port) = (CString::new(file.to_str().unwrap()).unwrap(), web.https);
        let get = move |number, ()| curl.get(&format!("https://localhost:{port}/{number}"), Some(&trusted));
        proves("libcurl, https", 50, |_| (), get);
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn fifty_requests_of_reqwest_take_as_long_as_one() {
    patched("fifty_requests_of_reqwest_take_as_long_as_one", || {
        let web = serve();
        let client = reqwest::blocking::Client::new();
        let get = move |number, ()| {
            let response = client.get(format!("http://{}/{number}", web.http)).send().unwrap();
            (response.status().as_u16(), response.text().unwrap())
        };
        proves("reqwest::blocking, http", 50, |_| (), get);
    });
}

#[test]
fn fifty_requests_of_a_vendored_libcurl_take_as_long_as_one() {
    use ::curl::easy::Easy;
    patched("fifty_requests_of_a_vendored_libcurl_take_as_long_as_one", || {
        assert!(::curl::Version::get().vendored());
        let web = serve();
        let get = move |number, ()| {
            let (mut handle, mut body) = (Easy::new(), Vec::new());
            handle.url(&format!("http://{}/{number}", web.http)).unwrap();
            let mut transfer = handle.transfer();
            transfer
                .write_function(|data| {
                    body.extend_from_slice(data);
                    Ok(data.len())
                })
                .unwrap();
            transfer.perform().unwrap();
            drop(transfer);
            (handle.response_code().unwrap(), body)
        };
        proves("curl, vendored, http", 50, |_| (), get);
    });
}
