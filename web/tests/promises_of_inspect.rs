//! What is going on, over HTTP: a page, JSON, calls, profiles.

mod support;

use std::hint::black_box;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::questions::{OtherHub, get, parked, send, wait_in_here};
use support::{ms, start, watched};
use sward::net::TcpStream;
use sward::web::inspect;
use sward::web::{Reply, Response};
use sward::{Builder, Greenlet, sleep, spawn};

/// What a browser would take for something else than a name, and what a metric, or JSON, might.
const HOSTILE: &str =
    "</td><script>alert('x')</script>&amp; \" \\ \u{202e}\u{0}\u{1b}[2J\r\n# TYPE x counter\nx{a=\"b\"} 1";

/// The JSON at that path.
fn json(addr: SocketAddr, path: &str) -> io::Result<Vec<Value>> {
    let mut value: Value = serde_json::from_str(&get(addr, path)?)?;
    Ok(value["hubs"].as_array_mut().map(std::mem::take).unwrap())
}

/// The hub that has a greenlet of that name, as JSON, and that row.
fn find(hubs: &[Value], name: &str) -> Option<(Value, Value)> {
    let mut rows = hubs.iter().flat_map(|hub| hub["rows"].as_array().into_iter().flatten().map(move |row| (hub, row)));
    rows.find(|(_, row)| row["name"] == name).map(|(hub, row)| (hub.clone(), row.clone()))
}

#[test]
fn the_page_has_each_greenlet_and_a_name_is_only_a_name() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        let g = parked(HOSTILE);
        let (head, body) = send(addr, "GET /")?;
        let page = String::from_utf8(body).unwrap();
        assert!(head.contains("\r\ncontent-type: text/html; charset=utf-8\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-security-policy: default-src 'none';"), "{head}");
        assert!(head.contains("\r\nx-content-type-options: nosniff\r\n"), "{head}");
        let name = "&lt;/td&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp; &quot; \\ \\u{202e}\\u{0}\\u{1b}[2J\\u{d}\n#";
        assert!(page.contains(name), "{page}");
        assert!(!page.contains("<script") && !page.contains(['\u{202e}', '\u{1b}']), "{page}");
        // It is ours, with its calls one click away.
        let row = page[page.find(name).unwrap()..].split("<tr>").next().unwrap().to_owned();
        assert!(row.contains("tests/support/questions.rs:"), "{row}");
        assert!(row.contains("<td>parked<td>sleep<td"), "{row}");
        let link = row.split("<a href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
        assert!(link.starts_with("calls?hub="), "{link}");
        let calls = get(addr, &format!("/{link}"))?;
        assert!(calls.contains("wait_in_here") && calls.contains("alert('x')"), "{calls}");
        assert_eq!(calls.matches("(spawned at").count(), 1, "{calls}");
        g.kill();
        Ok(())
    });
}

#[test]
fn json_has_the_rows_the_groups_and_the_counters() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        let many: Vec<_> = (0..5).map(|n| parked(&format!("{HOSTILE} {n}"))).collect();
        sleep(ms(20));
        let hubs = json(addr, "/json")?;
        let (hub, row) = find(&hubs, &format!("{HOSTILE} 3")).unwrap();
        assert_eq!((&hub["answers"], &hub["current"]), (&true.into(), &false.into()));
        assert_eq!(hub["greenlets"], 5, "{hub}");
        assert!(hub["spawned"].as_u64() >= Some(5) && hub["switches"].as_u64() >= Some(5), "{hub}");
        assert_eq!(hub["left_out"], 0);
        assert_eq!(row["id"].as_u64(), many[3].id().to_string().parse().ok());
        assert_eq!((&row["state"], &row["waits_for"], &row["parent"]), (&"parked".into(), &"sleep".into(), &0.into()));
        assert!(row["waited_seconds"].as_f64().unwrap() > 0.0 && row["switches"] == 1, "{row}");
        assert!(row["spawned_at"].as_str().unwrap().contains("tests/support/questions.rs:"), "{row}");
        let groups = hub["groups"].as_array().unwrap();
        assert_eq!(groups.iter().map(|group| group["count"].as_u64().unwrap()).sum::<u64>(), 5, "{groups:?}");
        assert_eq!(groups[0]["waits_for"], "sleep");
        let root = &hub["rows"][0];
        assert_eq!((&root["name"], &root["parent"], &root["spawned_at"]), (&"root".into(), &Value::Null, &Value::Null));
        // The hub that answers is another.
        assert_eq!(hubs.iter().filter(|hub| hub["current"] == true).count(), 1);
        many.iter().for_each(Greenlet::kill);
        Ok(())
    });
}

#[test]
fn the_tree_has_the_calls_of_all_hubs() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        let (g, other) = (parked("with calls"), OtherHub::with("elsewhere"));
        let text = get(addr, "/calls")?;
        for name in ["\"with calls\"", "\"elsewhere\""] {
            let row = &text[text.find(name).unwrap()..];
            assert!(row[..row.find("wait_in_here").unwrap()].lines().count() < 10, "{text}");
        }
        assert!(text.contains("\"the other hub\", 1 greenlets:"), "{text}");
        // The thread that answers is one of them.
        assert!(text.contains("\"sward-inspect\""), "{text}");
        g.kill();
        other.end();
        Ok(())
    });
}

/// Keeps its thread until it is told to stop.
#[inline(never)]
fn keep_the_thread(stop: &AtomicBool) {
    while !stop.load(SeqCst) {
        black_box(());
    }
}

#[test]
fn of_a_hub_that_is_kept_it_is_said_who_keeps_it() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = stop.clone();
        let (tell, told) = channel();
        let rude = thread::Builder::new().name("kept".to_owned()).spawn(move || {
            let g = Builder::new().name("<rude>").spawn(move || {
                tell.send(()).unwrap();
                keep_the_thread(&theirs);
            });
            g.unwrap().join().unwrap();
        })?;
        told.recv().unwrap();
        let start = Instant::now();
        let metrics = get(addr, "/metrics")?;
        assert!(start.elapsed() >= Duration::from_millis(900), "it was not waited for");
        let info = metrics.lines().find(|line| line.contains("thread=\"kept\"")).unwrap();
        let hub = info.split('"').nth(1).unwrap().to_owned();
        assert!(metrics.contains(&format!("sward_hub_up{{hub=\"{hub}\"}} 0\n")), "{metrics}");
        assert!(!metrics.contains(&format!("sward_timers{{hub=\"{hub}\"")), "{metrics}");
        let page = get(addr, "/")?;
        if cfg!(target_os = "linux") {
            let kept = page.split("<h2>").find(|hub| hub.contains(": kept</h2>")).unwrap();
            assert!(
                kept.contains(
                    "It does not answer: its thread is kept by greenlet 1 &quot;&lt;rude&gt;&quot; (spawned at "
                ),
                "{kept}"
            );
            assert!(kept.contains("keep_the_thread"), "{kept}");
            let text = get(addr, &format!("/calls?hub={hub}"))?;
            assert!(
                text.starts_with(&format!("hub {hub} \"kept\" does not answer: its thread is kept by greenlet 1 ")),
                "{text}"
            );
            assert!(text.contains("keep_the_thread"), "{text}");
            let hubs = json(addr, "/json")?;
            let kept = hubs.iter().find(|found| found["hub"].as_u64() == hub.parse().ok()).unwrap();
            assert_eq!((&kept["answers"], &kept["kept_by"]["name"]), (&false.into(), &"<rude>".into()), "{kept}");
            assert!(kept["kept_by"]["calls"].to_string().contains("keep_the_thread"), "{kept}");
        }
        stop.store(true, SeqCst);
        rude.join().unwrap();
        Ok(())
    });
}

#[test]
fn much_is_cut_and_how_much_is_said() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        let long = "n".repeat(1 << 20);
        let first = parked(&long);
        let many: Vec<_> =
            (0..12_000).map(|n| Builder::new().name(format!("many {n}")).spawn(wait_in_here).unwrap()).collect();
        sleep(ms(1));
        let page = get(addr, "/")?;
        assert!(page.len() < 1_000_000, "{} bytes", page.len());
        assert!(page.contains(&("n".repeat(200) + "…<td>")) && !page.contains(&long[..201]));
        assert!(page.contains("<td>many 997<td>") && !page.contains("<td>many 1000<td>"));
        assert!(
            page.contains("<p>11002 more are left out; <a href=\"?limit=12002\">"),
            "{}",
            &page[page.len() - 1000..]
        );
        assert!(page.contains("<td class=n>12000<td>"));
        assert!(get(addr, "/?limit=12002")?.contains("<td>many 11999<td>"));
        let hubs = json(addr, "/json")?;
        let (hub, _) = find(&hubs, "many 7").unwrap();
        assert_eq!(hub["rows"].as_array().unwrap().len(), 10_000);
        assert_eq!((&hub["left_out"], &hub["greenlets"]), (&2002.into(), &12_001.into()));
        let (hub, _) = find(&json(addr, "/json?limit=5")?, "many 2").unwrap();
        assert_eq!((hub["rows"].as_array().unwrap().len(), &hub["left_out"]), (5, &11_997.into()));
        let calls = get(addr, "/calls?limit=20")?;
        assert!(calls.contains("\"many 17\"") && !calls.contains("\"many 18\"") && !calls.contains(&long[..201]));
        assert!(calls.contains("11982 more are left out; ?limit=12002 has them too"), "{calls}");
        first.kill();
        many.iter().for_each(Greenlet::kill);
        Ok(())
    });
}

#[test]
fn what_is_not_there_and_what_is_not_allowed() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        let begins = |request: &str, status: &str| -> io::Result<(String, Vec<u8>)> {
            let (head, body) = send(addr, request)?;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {head}");
            assert!(head.contains("\r\ncache-control: no-store\r\n"), "{head}");
            Ok((head, body))
        };
        begins("GET /what", "404 Not Found")?;
        begins("GET /json/what", "404 Not Found")?;
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "SWARD"] {
            let (head, _) = begins(&format!("{method} /"), "405 Method Not Allowed")?;
            assert!(head.contains("\r\nallow: GET, HEAD\r\n"), "{head}");
        }
        for seconds in ["-1", "301", "many", "NaN", "", "1e99"] {
            begins(&format!("GET /profile?seconds={seconds}"), "400 Bad Request")?;
        }
        let (head, body) = begins("HEAD /metrics", "200 OK")?;
        assert!(head.contains("version=0.0.4") && body.is_empty(), "{head}");
        let (_, body) = begins("GET /?limit=none&limit=&hub", "200 OK")?;
        assert!(!body.is_empty());
        Ok(())
    });
}

#[test]
fn it_is_a_part_of_another_application() {
    watched(|| {
        let server = start(|request| match request.uri().path() {
            path if path.starts_with("/sward/") => inspect::answer(&request).map(Reply::from),
            _ => Response::new("hello".into()),
        })?;
        let g = parked("mounted");
        let hubs = json(server.addr, "/sward/json")?;
        // On our own hub: it waits for its own answer.
        let (hub, _) = find(&hubs, "mounted").unwrap();
        assert_eq!(hub["current"], true);
        assert!(hub["groups"].to_string().contains("inspect::hubs"), "{hub}");
        assert!(get(server.addr, "/sward/")?.contains("<td>mounted<td>"));
        let (_, body) = send(server.addr, "GET /sward")?;
        assert_eq!(body, b"hello");
        g.kill();
        server.stop()
    });
}

#[test]
fn many_ask_at_once_and_hubs_end_meanwhile() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        let g = parked("always there");
        let over = Arc::new(AtomicBool::new(false));
        let theirs = over.clone();
        let ending = thread::spawn(move || {
            let mut ended = 0;
            while !theirs.load(SeqCst) {
                thread::spawn(|| spawn(|| sleep(Duration::from_micros(100))).join().unwrap()).join().unwrap();
                ended += 1;
            }
            ended
        });
        let paths = ["/", "/json", "/metrics", "/calls", "/greenlets"];
        let askers = (0..20).map(|n| spawn(move || get_any(addr, paths[n % paths.len()])));
        for (n, asked) in sward::join_all(askers.collect::<Vec<_>>()).into_iter().enumerate() {
            let body = asked.unwrap()?;
            let names = ["always there"; 2].map(str::as_bytes)[0];
            let is_named = body.windows(names.len()).any(|part| part == names);
            assert_eq!(
                is_named,
                !matches!(paths[n % paths.len()], "/metrics" | "/greenlets"),
                "{}",
                paths[n % paths.len()]
            );
        }
        over.store(true, SeqCst);
        assert!(ending.join().unwrap() > 0);
        g.kill();
        Ok(())
    });
}

/// The body at that path.
fn get_any(addr: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let (head, body) = send(addr, &format!("GET {path}"))?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    Ok(body)
}

/// A listener of its own hub is no hope for this one.
#[test]
fn who_is_told_of_is_told_of_a_deadlock_all_the_same() {
    watched(|| {
        inspect::serve("127.0.0.1:0")?;
        let caught = std::panic::catch_unwind(|| sward::sync::Event::new().wait()).unwrap_err();
        assert!(caught.downcast_ref::<String>().unwrap().contains("deadlock"));
        Ok(())
    });
}

#[test]
fn an_address_that_is_taken_is_an_error() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        assert_eq!(inspect::serve(addr).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        Ok(())
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_profile_is_made_for_one_at_a_time() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        let mut first = TcpStream::connect(addr)?;
        first.write_all(b"GET /profile?seconds=1 HTTP/1.1\r\nhost: test\r\n\r\n")?;
        let busy = || -> io::Result<bool> {
            let (head, body) = send(addr, "GET /profile?seconds=0")?;
            let is_busy = head.starts_with("HTTP/1.1 503 Service Unavailable\r\n");
            assert!(is_busy || head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(body.starts_with(&[0x1f, 0x8b]), !is_busy);
            Ok(is_busy)
        };
        while !busy()? {
            sleep(ms(1));
        }
        drop(first);
        while busy()? {
            sleep(ms(1));
        }
        Ok(())
    });
}

/// Whoever looks at calls and leaves is killed in the middle of that.
#[test]
fn who_leaves_in_the_middle_harms_nobody() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        let many: Vec<_> = (0..2000).map(|_| spawn(wait_in_here)).collect();
        let g = parked("stays");
        for n in 0..40 {
            let mut stream = TcpStream::connect(addr)?;
            let path = ["/calls?limit=2000", "/greenlets", "/json", "/"][n % 4];
            write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")?;
            sleep(Duration::from_micros(n as u64 * 200));
        }
        assert!(get(addr, "/calls?limit=3000")?.contains("\"stays\""));
        g.kill();
        many.iter().for_each(Greenlet::kill);
        Ok(())
    });
}
