//! What is going on, for Prometheus: its text format, which has no room for mistakes.

mod support;

use std::io;
use std::sync::mpsc::channel;
use std::thread;

use support::questions::{parked, send};
use support::{ms, watched};
use sward::web::inspect;
use sward::{Builder, Greenlet, sleep};

/// A sample of a metric: its name, its labels, its value.
type Sample = (String, Vec<(String, String)>, f64);

/// Reads the text format, version 0.0.4, and finds fault with all that it does not allow.
fn samples(text: &str) -> Vec<Sample> {
    let (mut samples, mut current) = (Vec::new(), None::<(String, String)>);
    assert!(text.ends_with('\n'));
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty());
            let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap().strip_prefix(name).unwrap().trim_start();
            assert!(matches!(kind, "counter" | "gauge"), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            current = Some((name.to_owned(), kind.to_owned()));
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        assert_eq!(current.as_ref().map(|(name, _)| name.as_str()), Some(name), "{line}");
        let (mut labels, mut rest) = (Vec::new(), rest);
        loop {
            let (label, value) = rest.split_once("=\"").unwrap();
            let (mut text, mut chars) = (String::new(), value.char_indices());
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => text.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("an escape that is none: {c}"),
                    }),
                    (_, c) => text.push(c),
                }
            };
            labels.push((label.to_owned(), text));
            rest = &value[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        let value = rest.strip_prefix("} ").unwrap().parse().unwrap();
        samples.push((name.to_owned(), labels, value));
    }
    samples
}

#[test]
fn prometheus_can_read_the_metrics_whatever_a_thread_is_called() {
    watched(|| {
        let addr = inspect::serve("127.0.0.1:0")?;
        let (tell, told) = channel();
        let (end, ended) = sward::sync::channel::unbounded::<()>();
        // Linux keeps 15 bytes of it.
        let name = "a\"b\\c\nd{e} 1";
        let other = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let greenlets = [parked("one"), parked("two")];
            let row = Builder::new().name("counted").spawn(|| sleep(ms(1)))?;
            row.join().unwrap();
            tell.send(()).unwrap();
            ended.recv().unwrap_err();
            greenlets.iter().for_each(Greenlet::kill);
            io::Result::Ok(())
        })?;
        told.recv().unwrap();
        let (head, body) = send(addr, "GET /metrics")?;
        assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
        let text = String::from_utf8(body).unwrap();
        let samples = samples(&text);
        let is_named =
            |labels: &[(String, String)]| labels.iter().any(|(label, value)| label == "thread" && value == name);
        let (metric, labels, value) = samples.iter().find(|(_, labels, _)| is_named(labels)).unwrap();
        assert_eq!((metric.as_str(), *value), ("sward_hub_info", 1.0));
        let hub = &labels.iter().find(|(label, _)| label == "hub").unwrap().1;
        let value = |metric: &str, wanted: &[(&str, &str)]| {
            let has = |labels: &[(String, String)], (label, value): (&str, &str)| {
                labels.iter().any(|(a, b)| a == label && b == value)
            };
            let mut found = samples.iter().filter(|(name, labels, _)| {
                name == metric && has(labels, ("hub", hub)) && wanted.iter().all(|wanted| has(labels, *wanted))
            });
            let value = found.next().unwrap_or_else(|| panic!("no {metric} {wanted:?} in {text}")).2;
            assert!(found.next().is_none());
            value
        };
        assert_eq!(value("sward_hub_up", &[]), 1.0);
        assert_eq!(value("sward_greenlets", &[("state", "parked"), ("waits_for", "sleep")]), 2.0);
        assert!(value("sward_longest_wait_seconds", &[("waits_for", "sleep")]) > 0.0);
        assert_eq!(value("sward_greenlets_spawned_total", &[]), 3.0);
        assert!(value("sward_switches_total", &[]) >= 5.0);
        assert_eq!(value("sward_timers", &[]), 2.0);
        drop(end);
        other.join().unwrap()
    });
}
