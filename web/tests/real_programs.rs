//! Clients that are not ours: curl and wrk. Behind the feature `real`, since they must be installed.

mod support;

use std::io::{self, Read};

use support::{ms, start, watched};
use sward::process::Command;
use sward::web::{Body, Request, Response};

/// Runs a program to its end; what it has written.
fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// Answers with what it has received.
fn mirror(mut request: Request<Body>) -> io::Result<Response<String>> {
    let mut body = Vec::new();
    request.body_mut().read_to_end(&mut body)?;
    let (method, path) = (request.method(), request.uri().path());
    Ok(Response::new(format!("{method} {path} {:?} {}", request.version(), body.len())))
}

#[test]
fn curl_speaks_every_dialect() {
    watched(|| {
        let server = start(mirror)?;
        let url = format!("http://{}/path", server.addr);
        let curl = |arguments: &[&str]| run("curl", &[&["-sS", "--max-time", "30"], arguments, &[&*url]].concat());
        assert_eq!(curl(&[])?, "GET /path HTTP/1.1 0");
        assert_eq!(curl(&["--http1.0"])?, "GET /path HTTP/1.0 0");
        assert_eq!(curl(&["--http2-prior-knowledge"])?, "GET /path HTTP/2.0 0");
        let file = std::env::temp_dir().join(format!("sward-web-upload-{}", std::process::id()));
        std::fs::write(&file, vec![b'x'; 300_000])?;
        let data = format!("@{}", file.display());
        let upload = ["--data-binary", &*data, "-H", "expect: 100-continue"];
        assert_eq!(curl(&upload)?, "POST /path HTTP/1.1 300000");
        assert_eq!(curl(&[&upload[..], &["-H", "transfer-encoding: chunked"]].concat())?, "POST /path HTTP/1.1 300000");
        // What it sends and receives, told by curl itself.
        let trace = std::env::temp_dir().join(format!("sward-web-trace-{}", std::process::id()));
        let name = trace.display().to_string();
        curl(&[&upload[..], &["-H", "transfer-encoding: chunked", "--trace-ascii", &name]].concat())?;
        let told = std::fs::read_to_string(&trace)?;
        let places = ["Expect: 100-continue", "HTTP/1.1 100 Continue", "=> Send data", "HTTP/1.1 200 OK"];
        let found = places.map(|text| told.to_lowercase().find(&text.to_lowercase()).expect(text));
        assert!(found.is_sorted(), "{told}");
        std::fs::remove_file(trace)?;
        assert_eq!(curl(&["--http2-prior-knowledge", "--data-binary", &*data])?, "POST /path HTTP/2.0 300000");
        std::fs::remove_file(file)?;
        server.stop()
    });
}

#[test]
fn curl_agrees_on_http2_over_tls() {
    watched(|| {
        let (config, _) = support::tls_configs();
        let server = support::start_with(support::bind()?.tls(std::sync::Arc::new(config)), mirror)?;
        let url = format!("https://{}/", server.addr);
        assert_eq!(run("curl", &["-sSk", "--max-time", "30", &*url])?, "GET / HTTP/2.0 0");
        assert_eq!(run("curl", &["-sSk", "--max-time", "30", "--http1.1", &*url])?, "GET / HTTP/1.1 0");
        server.stop()
    });
}

/// A profile is gzip, as gzip sees it, and what is JSON python reads.
#[test]
fn curl_asks_what_is_going_on() {
    watched(|| {
        let addr = sward::web::inspect::serve("127.0.0.1:0")?;
        let (base, folder) = (format!("http://{addr}/"), std::env::temp_dir());
        let curl = |path: &str, arguments: &[&str]| {
            let url = format!("{base}{path}");
            run("curl", &[&["-sSf", "--max-time", "30"], arguments, &[&*url]].concat())
        };
        assert!(curl("", &[])?.contains("<h1>What is going on</h1>"));
        assert!(curl("metrics", &["--http2-prior-knowledge"])?.contains("sward_hub_up{hub="));
        assert!(curl("json", &["-I"])?.to_lowercase().contains("content-type: application/json"));
        let file = folder.join(format!("sward-web-inspect-{}", std::process::id())).display().to_string();
        for profile in ["greenlets", "profile?seconds=0.1"] {
            curl(profile, &["-o", &file])?;
            run("sh", &["-c", "gzip --test < \"$0\"", &file])?;
        }
        curl("json", &["-o", &file])?;
        let program = "import json, sys; print(all(hub['answers'] for hub in json.load(open(sys.argv[1]))['hubs']))";
        assert!(matches!(&*run("python3", &["-c", program, &file])?, "True\n" | "False\n"));
        std::fs::remove_file(file)
    });
}

#[test]
fn curl_reaches_a_unix_socket() {
    watched(|| {
        let path = std::env::temp_dir().join(format!("sward-web-curl-{}", std::process::id()));
        let server = sward::web::Server::bind_unix(&path)?;
        let handle = server.handle();
        let serving = sward::spawn(move || server.serve(mirror));
        let socket = path.display().to_string();
        let answer = run("curl", &["-sS", "--max-time", "30", "--unix-socket", &*socket, "http://any/x"])?;
        assert_eq!(answer, "GET /x HTTP/1.1 0");
        std::fs::remove_file(path)?;
        handle.stop();
        serving.join().unwrap()
    });
}

#[test]
fn wrk_finds_no_error() {
    watched(|| {
        let server = start(|request| {
            if request.uri().path() == "/slow" {
                sward::sleep(ms(5));
            }
            Response::new("hello")
        })?;
        for path in ["", "slow"] {
            let report = run("wrk", &["-t1", "-c50", "-d1s", &*format!("http://{}/{path}", server.addr)])?;
            assert!(report.contains("requests in") && !report.contains("errors"), "{report}");
            assert!(!report.contains("Non-2xx"), "{report}");
        }
        server.stop()
    });
}
